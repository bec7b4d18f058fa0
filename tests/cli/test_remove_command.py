import json

from model_home import FILE, REPO, Home, home

from localrouter.cli.add import add
from localrouter.cli.remove import remove
from localrouter.weights.manifest.manifest import load_manifest

__all__ = ["home"]


def test_downloaded_files_are_deleted(home: Home) -> None:
    pointer = home.cache.add(REPO, FILE, b"12345")
    result = home.run(remove, "big", "--yes", "--json")
    assert json.loads(result.stdout) == {"deleted": [str(pointer)], "freed": 5, "forgotten": []}
    assert not pointer.exists()


def test_where_nobody_can_be_asked_nothing_happens_without_yes(home: Home) -> None:
    pointer = home.cache.add(REPO, FILE, b"12345")
    result = home.run(remove, "big")
    assert (result.exit_code, "--yes" in result.stderr, pointer.exists()) == (2, True, True)


def test_a_file_of_the_user_is_forgotten_and_never_deleted(home: Home) -> None:
    file = home.gguf("Mine.gguf")
    home.run(add, "mine", file)
    assert home.run(remove, "mine", "--yes").exit_code == 0
    assert load_manifest(home.own).models == {}
    assert file.exists()


def test_a_build_of_the_hub_that_was_added_stays_named_unless_it_is_to_be_forgotten(home: Home) -> None:
    home.run(add, "new", "hf:o/New/New.gguf", "--offline")
    home.cache.add("o/New", "New.gguf", b"12345")
    home.run(remove, "new", "--yes")
    assert list(load_manifest(home.own).models) == ["new"]
    home.run(remove, "new", "--yes", "--forget")
    assert load_manifest(home.own).models == {}


def test_nothing_to_remove_is_an_error(home: Home) -> None:
    result = home.run(remove, "big", "--yes")
    assert (result.exit_code, "nothing to remove" in result.stderr) == (2, True)


def test_what_is_shipped_cannot_be_removed(home: Home) -> None:
    home.manifest.write_text('version = 1\n[models.demo]\nbuilds = [{ name = "Demo", asset = "demo.gguf" }]')
    assert "not one that localrouter downloaded" in home.run(remove, "demo", "--yes").stderr

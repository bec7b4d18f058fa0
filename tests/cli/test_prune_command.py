import json

from hub_cache import SECOND
from model_home import FILE, REPO, Home, home

from localrouter.cli.du import du
from localrouter.cli.prune import prune

__all__ = ["home"]


def test_what_nobody_names_is_deleted_and_the_rest_stays(home: Home) -> None:
    kept = home.cache.add(REPO, FILE, b"12345")
    gone = home.cache.add(REPO, FILE, b"123", revision=SECOND)
    result = home.run(prune, "--yes")
    assert (result.exit_code, result.stdout.split()[:3]) == (0, ["3", "B", "revision"])
    assert (kept.exists(), gone.exists()) == (True, False)


def test_a_dry_run_deletes_nothing(home: Home) -> None:
    gone = home.cache.add(REPO, FILE, b"123", revision=SECOND)
    said = json.loads(home.run(prune, "--dry-run", "--json").stdout)
    assert (said["size"], said["deleted"], gone.exists()) == (3, False, True)


def test_it_asks_first(home: Home) -> None:
    gone = home.cache.add(REPO, FILE, b"123", revision=SECOND)
    result = home.run(prune)
    assert (result.exit_code, "--yes" in result.stderr, gone.exists()) == (2, True, True)


def test_nothing_to_delete_is_said(home: Home) -> None:
    result = home.run(prune)
    assert (result.exit_code, result.stderr) == (0, "nothing to delete\n")


def test_what_another_manifest_names_is_kept(home: Home) -> None:
    home.cache.add(REPO, FILE, b"123", revision=SECOND)
    other = home.root / "m.toml"
    keys = f'name = "X", repo = "{REPO}", file = "{FILE}", revision = "{SECOND}"'
    other.write_text(f"version = 1\n[models.x]\nbuilds = [{{ {keys} }}]")
    assert "nothing to delete" in home.run(prune, "--manifest", other).stderr


def test_du_counts_what_is_here(home: Home) -> None:
    home.cache.add(REPO, FILE, b"12345")
    home.cache.add(REPO, "Four.gguf", b"1234567")
    lines = home.run(du).stdout.splitlines()
    assert [line.split() for line in lines] == [["7", "B", "Big-4B"], ["5", "B", "Big-9B"], ["12", "B", "total"]]


def test_du_is_data_for_programs(home: Home) -> None:
    pointer = home.cache.add(REPO, FILE, b"12345")
    assert json.loads(home.run(du, "big:9b", "--json").stdout) == {
        "builds": [{"model": "Big-9B", "source": "hub", "size": 5, "paths": [str(pointer)]}],
        "unfinished": 0,
        "total": 5,
    }

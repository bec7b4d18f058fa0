import json

from hub_cache import FIRST
from model_home import FILE, REPO, Home, home

from localrouter.cli.show import show

__all__ = ["home"]


def test_everything_known_is_shown(home: Home) -> None:
    pointer = home.cache.add(REPO, FILE, home.gguf("x").read_bytes())
    result = home.run(show, "big:9b")
    assert result.exit_code == 0
    for words in ("Big-9B", "mit", FIRST, REPO, str(pointer), "on disk", "qwen3", "Q4_K_M", "2,048"):
        assert words in result.stdout


def test_what_is_not_here_says_how_to_bring_it(home: Home) -> None:
    text = home.run(show, "big:4b").stdout
    assert "run localrouter pull big:4b" in text
    assert "run localrouter lock big:4b" in text


def test_an_alias_shows_all_its_builds(home: Home) -> None:
    assert [known["model"] for known in json.loads(home.run(show, "big", "--json").stdout)] == ["Big-9B", "Big-4B"]


def test_a_broken_file_is_shown_with_its_error(home: Home) -> None:
    home.cache.add(REPO, FILE, b"GGUF")
    [known] = json.loads(home.run(show, "Big-9B", "--json").stdout)
    assert "not a usable GGUF" in known["header"]["error"]


def test_an_unknown_name_is_an_error(home: Home) -> None:
    result = home.run(show, "nix")
    assert (result.exit_code, "'nix' does not exist" in result.stderr) == (2, True)

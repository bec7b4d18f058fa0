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


def test_a_file_without_a_chat_template_is_shown_with_a_warning(home: Home) -> None:
    home.cache.add(REPO, FILE, home.gguf("x").read_bytes())
    text = home.run(show, "Big-9B").stdout
    assert "no chat template: fallback plain is used; use an instruction-tuned file" in " ".join(text.split())
    [known] = json.loads(home.run(show, "Big-9B", "--json").stdout)
    assert known["header"]["fallback_template"] == "fallback plain"


def test_a_template_of_the_manifest_is_shown_in_place_of_the_warning(home: Home) -> None:
    home.cache.add(REPO, FILE, home.gguf("x").read_bytes())
    manifest = home.manifest.read_text()
    home.manifest.write_text(manifest.replace('variant = "9b"', 'variant = "9b"\nchat_template = "mended.jinja"'))
    text = home.run(show, "Big-9B").stdout
    assert "mended.jinja" in text
    assert "no chat template" not in text

import json

from model_home import FILE, MANIFEST, REPO, Home, home

from localrouter.cli.verify import verify_builds

__all__ = ["home"]


def test_what_is_here_and_whole_is_good(home: Home) -> None:
    home.cache.add(REPO, FILE, home.gguf("x").read_bytes())
    result = home.run(verify_builds)
    assert (result.exit_code, result.stdout.startswith("good  Big-9B  ")) == (0, True)
    assert "no sha256 is known" in result.stdout


def test_a_bad_file_is_named_with_what_to_do(home: Home) -> None:
    pointer = home.cache.add(REPO, FILE, b"rubbish")
    result = home.run(verify_builds, "big")
    assert result.exit_code == 1
    assert result.stdout.startswith(f"bad   Big-9B\n      {pointer}: is not a usable GGUF")
    assert "hint: Big-9B: localrouter remove big:9b && localrouter pull big:9b" in result.stderr


def test_a_flipped_byte_is_found(home: Home) -> None:
    content = home.gguf("x").read_bytes()
    home.manifest.write_text(MANIFEST.replace('license = "mit"', f'size = {len(content)}\nsha256 = "{"0" * 64}"'))
    home.cache.add(REPO, FILE, content)
    result = home.run(verify_builds, "--json")
    assert result.exit_code == 1
    [verdict] = json.loads(result.stdout)
    assert (verdict["model"], verdict["good"]) == ("Big-9B", False)
    assert "its sha256 is" in verdict["files"][0]["flaws"][0]


def test_nothing_here_is_no_mistake_unless_it_was_named(home: Home) -> None:
    assert home.run(verify_builds).exit_code == 0
    result = home.run(verify_builds, "big:9b")
    assert (result.exit_code, "localrouter pull big:9b" in result.stderr) == (2, True)

import json
import shlex

from gguf_bytes import header, number_pair, text_pair
from model_home import FILE, MANIFEST, REPO, Home, home

from localrouter.cli.add import add
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


def test_a_part_that_is_missing_is_named_with_what_to_do(home: Home) -> None:
    parts = [home.gguf(f"S-0000{number}-of-00003.gguf") for number in (1, 2, 3)]
    home.run(add, "mine", parts[0])
    parts[1].unlink()
    result = home.run(verify_builds)
    assert result.exit_code == 1
    assert f"{parts[1]}: it is missing" in result.stdout
    assert "hint: S: put S-00002-of-00003.gguf into the folder of the other parts" in result.stderr


def test_parts_that_are_too_long_together_are_told_in_words_and_in_json(home: Home) -> None:
    parts = [home.root / f"S-0000{number}-of-00002.gguf" for number in (1, 2)]
    for part in parts:
        part.write_bytes(header(text_pair("general.architecture", "q"), number_pair("split.count", 2)))
    home.run(add, "mine", parts[0], "--no-hash")
    parts[1].write_bytes(parts[1].read_bytes() + b"more")
    assert "all parts together have" in home.run(verify_builds, "mine").stdout
    [verdict] = json.loads(home.run(verify_builds, "mine", "--json").stdout)
    assert (verdict["good"], len(verdict["flaws"])) == (False, 1)


def test_an_added_file_that_changed_is_accepted_by_adding_it_again(home: Home) -> None:
    file = home.gguf("Mine-Q8_0.gguf")
    home.run(add, "mine", file)
    assert "no sha256" not in home.run(verify_builds, "mine").stdout
    file.write_bytes(file.read_bytes().replace(b"qwen3", b"qwen4"))
    changed = home.run(verify_builds, "mine")
    assert (changed.exit_code, "its sha256 is" in changed.stdout) == (1, True)
    [command] = [line.partition("current one with: ")[2] for line in changed.stderr.splitlines() if "hint:" in line]
    assert home.run(add, *shlex.split(command)[2:]).exit_code == 0
    assert home.run(verify_builds, "mine").exit_code == 0

import hashlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from gguf_bytes import SAMPLE
from hub_cache import FIRST
from hub_server import HubServer
from model_home import Home, home

from localrouter.cli.add import add
from localrouter.weights import addition
from localrouter.weights.hashed_copy import CutShort
from localrouter.weights.hub import hub_client as hub_module
from localrouter.weights.hub.hub_client import Hub
from localrouter.weights.manifest.lockfile import lock_path, read_lock
from localrouter.weights.manifest.manifest import load_manifest
from localrouter.weights.registry import Registry

__all__ = ["home"]

SAMPLE_SHA256 = hashlib.sha256(SAMPLE).hexdigest()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as server:
        server.add("o/New", "New-Q8_0.gguf", SAMPLE)
        monkeypatch.setattr(hub_module, "Hub", partial(Hub, server.endpoint))
        yield server


def test_a_file_gets_a_name_and_stays_where_it_is(home: Home) -> None:
    file = home.gguf("Mine-Q8_0.gguf")
    assert home.run(add, "mine:q8", file).exit_code == 0
    [entry] = Registry.read().find("mine:q8")
    assert (entry.build.name, entry.build.path, entry.build.license) == ("Mine-Q8_0", str(file), "apache-2.0")


def test_a_file_may_be_called_like_its_alias(home: Home) -> None:
    assert home.run(add, "mine", home.gguf("mine.gguf")).exit_code == 0
    [entry] = Registry.read().find("mine")
    assert entry.build.name == "mine"


def test_size_and_sha256_of_a_file_are_noted(home: Home) -> None:
    result = home.run(add, "mine", home.gguf("Mine.gguf"))
    [entry] = Registry.read().find("mine")
    assert (entry.build.size, entry.build.sha256) == (len(SAMPLE), SAMPLE_SHA256)
    assert SAMPLE_SHA256 in result.stderr


def test_without_hashing_only_the_size_is_noted(home: Home) -> None:
    result = home.run(add, "mine", home.gguf("Mine.gguf"), "--no-hash")
    [entry] = Registry.read().find("mine")
    assert (entry.build.size, entry.build.sha256) == (len(SAMPLE), None)
    assert "no sha256" in result.stderr


def test_of_a_split_file_every_part_is_noted(home: Home) -> None:
    parts = [home.gguf(f"S-0000{number}-of-00002.gguf") for number in (1, 2)]
    parts[1].write_bytes(SAMPLE + b"x")
    said = json.loads(home.run(add, "mine", parts[1], "--json").stdout)
    [entry] = Registry.read().find("mine")
    assert (entry.build.size, entry.build.sha256) == (2 * len(SAMPLE) + 1, None)
    assert entry.build.part_sha256 == (SAMPLE_SHA256, hashlib.sha256(SAMPLE + b"x").hexdigest())
    assert said["part_sha256"] == list(entry.build.part_sha256)


def test_the_same_file_added_again_is_taken_as_it_is_now(home: Home) -> None:
    file = home.gguf("Mine.gguf")
    home.run(add, "mine:q8", file)
    home.run(add, "mine", home.gguf("Other.gguf"))
    file.write_bytes(SAMPLE + b"more")
    assert json.loads(home.run(add, "mine", file, "--json").stdout)["updated"] is True
    mine, other = load_manifest(home.own).models["mine"].builds
    assert (mine.name, mine.variant, mine.size) == ("Mine", "q8", len(SAMPLE) + 4)
    assert mine.sha256 == hashlib.sha256(SAMPLE + b"more").hexdigest()
    assert other.name == "Other"


def test_a_digest_that_nobody_computed_does_not_stay(home: Home) -> None:
    file = home.gguf("Mine.gguf")
    home.run(add, "mine", file)
    home.run(add, "mine", file, "--no-hash")
    assert load_manifest(home.own).models["mine"].builds[0].sha256 is None


def test_a_file_that_moved_is_found_where_it_was_added_again(home: Home) -> None:
    home.run(add, "mine:q8", home.gguf("Mine.gguf"))
    (home.root / "elsewhere").mkdir()
    moved = (home.root / "Mine.gguf").rename(home.root / "elsewhere" / "Mine.gguf")
    assert "updated mine" in home.run(add, "mine", moved).stderr
    [entry] = Registry.read().find("mine:q8")
    assert entry.build.path == str(moved)


def test_another_alias_is_no_way_to_change_a_build(home: Home) -> None:
    file = home.gguf("Mine.gguf")
    home.run(add, "mine", file)
    assert "'Mine' is already in" in home.run(add, "other", file).stderr


def test_a_file_that_cannot_be_read_is_not_added(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def shorter(*_: object) -> str:
        raise CutShort

    monkeypatch.setattr(addition, "hashed", shorter)
    result = home.run(add, "mine", home.gguf("Mine.gguf"))
    assert (result.exit_code, "was truncated" in result.stderr, home.own.exists()) == (2, True, False)


def test_an_alias_that_exists_gets_one_more_build(home: Home) -> None:
    home.run(add, "big", home.gguf("Mine.gguf"))
    assert [entry.build.name for entry in Registry.read().find("big")] == ["Mine", "Big-9B", "Big-4B"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["big:9b", "Mine.gguf"], "'big:9b' is already Big-9B"),
        (["new", "Mine.gguf", "--name", "Big-9B"], "'Big-9B' is already in"),
        (["new", "none.gguf"], "there is no file"),
        (["new", "text.gguf"], "is not a usable GGUF"),
        (["New", "Mine.gguf"], "is not a valid name"),
        (["new", "Mine.gguf", "--name", "a:b"], "a name is 1 to 255"),
        (["new", "hf:only-one"], "not of the form hf:OWNER"),
        (["new", "hf:o/n/../x.gguf"], "plain relative path"),
        (["new", "hf:o/n/x.gguf@main", "--offline"], "'main' cannot be resolved to a commit"),
    ],
)
def test_what_cannot_be_added_changes_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(home.root)
    home.gguf("Mine.gguf")
    Path("text.gguf").write_text("no")
    result = home.run(add, *arguments)
    assert (result.exit_code, words in result.stderr, home.own.exists()) == (2, True, False), result.stderr


def test_a_file_of_the_hub_is_looked_up_and_pinned(home: Home, hub: HubServer) -> None:
    result = home.run(add, "new", "hf:o/New/New-Q8_0.gguf")
    assert result.exit_code == 0, result.output
    pin = read_lock(lock_path(home.own)).entries["New-Q8_0"]
    assert pin.commit == hub.repos["o/New"].refs["main"]
    [build] = load_manifest(home.own).models["new"].builds
    assert (build.revision, build.license) == (None, "apache-2.0")
    assert "localrouter pull New-Q8_0" in result.stderr


def test_a_branch_becomes_the_commit_that_it_is(home: Home, hub: HubServer) -> None:
    commit = hub.add("o/New", "New-Q8_0.gguf", SAMPLE, branch="dev")
    said = json.loads(home.run(add, "new", "hf:o/New/New-Q8_0.gguf@dev", "--json").stdout)
    [build] = load_manifest(home.own).models["new"].builds
    assert said["commit"] == build.revision == commit


def test_a_file_that_the_hub_does_not_have_is_not_added(home: Home, hub: HubServer) -> None:
    assert hub.repos
    assert home.run(add, "new", "hf:o/New/Other.gguf").exit_code == 2
    assert not home.own.exists()


def test_offline_a_file_of_the_hub_is_noted(home: Home) -> None:
    result = home.run(add, "new", f"hf:o/New/New.gguf@{FIRST}", "--offline")
    assert (result.exit_code, "not pinned yet" in result.stderr) == (0, True)
    assert load_manifest(home.own).models["new"].builds[0].revision == FIRST


def test_another_manifest_can_be_added_to(home: Home) -> None:
    home.run(add, "mine", home.gguf("Mine.gguf"), "--manifest", home.root / "m.toml")
    assert list(load_manifest(home.root / "m.toml").models) == ["mine"]
    assert not home.own.exists()

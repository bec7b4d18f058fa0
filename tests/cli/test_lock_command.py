import hashlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from gguf_bytes import SAMPLE, header, text_pair
from hub_server import HubServer
from model_home import FILE, REPO, Home, home

from localrouter.cli.lock import lock
from localrouter.weights.hub import hub_client as hub_module
from localrouter.weights.hub.hub_client import Hub
from localrouter.weights.manifest.lockfile import lock_path, read_lock

__all__ = ["home"]
TEMPLATED = header(text_pair("general.architecture", "qwen3"), text_pair("tokenizer.chat_template", "{{ m }}"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as server:
        server.add(REPO, FILE, TEMPLATED)
        server.add(REPO, "Four.gguf", SAMPLE)
        monkeypatch.setattr(hub_module, "Hub", partial(Hub, server.endpoint))
        yield server


@pytest.fixture
def unpinned(home: Home) -> Path:
    """The manifest without a revision."""
    home.manifest.write_text(
        "\n".join(line for line in home.manifest.read_text().split("\n") if "revision" not in line)
    )
    return lock_path(home.manifest)


def test_everything_is_pinned_to_what_the_hub_has_now(home: Home, hub: HubServer, unpinned: Path) -> None:
    result = home.run(lock)
    assert result.exit_code == 0, result.output
    pins = read_lock(unpinned).entries
    head = hub.repos[REPO].refs["main"]
    assert {name: pin.commit for name, pin in pins.items()} == {"Big-4B": head, "Big-9B": head}
    pin = pins["Big-9B"]
    assert (pin.size, pin.files[0].sha256) == (len(TEMPLATED), hashlib.sha256(TEMPLATED).hexdigest())
    assert (pin.license, pin.template_sha256) == ("apache-2.0", hashlib.sha256(b"{{ m }}").hexdigest())
    assert str(unpinned) in result.stderr


def test_locking_again_changes_nothing(home: Home, hub: HubServer, unpinned: Path) -> None:
    del hub
    home.run(lock)
    before = unpinned.read_bytes()
    again = home.run(lock)
    assert (again.exit_code, again.stdout, unpinned.read_bytes()) == (0, "", before)
    assert "is unchanged" in again.stderr


def test_one_build_can_be_locked_and_the_others_stay(home: Home, hub: HubServer, unpinned: Path) -> None:
    home.run(lock)
    old = read_lock(unpinned).entries
    hub.add(REPO, "Four.gguf", TEMPLATED)
    home.run(lock, "big:4b")
    new = read_lock(unpinned).entries
    assert new["Big-9B"] == old["Big-9B"]
    assert new["Big-4B"].commit != old["Big-4B"].commit


def test_a_build_that_left_the_manifest_leaves_the_lock(home: Home, hub: HubServer, unpinned: Path) -> None:
    del hub
    home.run(lock)
    text = home.manifest.read_text()
    home.manifest.write_text(text[: text.rindex("[[")])
    result = home.run(lock)
    assert list(read_lock(unpinned).entries) == ["Big-9B"]
    assert "Big-4B pin" in result.stdout


def test_check_is_content_when_nothing_moved(home: Home, hub: HubServer, unpinned: Path) -> None:
    del hub, unpinned
    home.run(lock)
    result = home.run(lock, "--check")
    assert (result.exit_code, result.stdout) == (0, "")


def test_check_shows_what_moved_and_changes_nothing(home: Home, hub: HubServer, unpinned: Path) -> None:
    home.run(lock)
    old, before = hub.repos[REPO].refs["main"], unpinned.read_bytes()
    new = hub.add(REPO, "Four.gguf", TEMPLATED)
    result = home.run(lock, "--check")
    assert (result.exit_code, unpinned.read_bytes()) == (1, before)
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["Big-9B", "commit", old[:12], "->", new[:12]] in rows
    digests = [hashlib.sha256(content).hexdigest()[:12] for content in (SAMPLE, TEMPLATED)]
    assert ["Big-4B", "sha256", digests[0], "->", digests[1]] in rows


def test_check_says_what_is_not_locked(home: Home, hub: HubServer, unpinned: Path) -> None:
    del unpinned
    result = home.run(lock, "--check", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)[0] == {
        "build": "Big-9B",
        "what": "pin",
        "old": "-",
        "new": hub.repos[REPO].refs["main"],
    }


def test_output_goes_elsewhere(home: Home, hub: HubServer, unpinned: Path) -> None:
    del hub
    home.run(lock, "--output", home.root / "other.lock")
    assert list(read_lock(home.root / "other.lock").entries) == ["Big-4B", "Big-9B"]
    assert not unpinned.exists()


def test_a_place_that_cannot_be_written_is_said_with_the_way_out(home: Home, hub: HubServer, unpinned: Path) -> None:
    del hub, unpinned
    result = home.run(lock, "--output", home.manifest / "x.lock")
    assert (result.exit_code, "--output FILE" in result.stderr) == (2, True)


@pytest.mark.parametrize("option", [[], ["--check"]])
def test_offline_it_says_what_it_lacks(home: Home, unpinned: Path, option: list[str], hub: HubServer) -> None:
    result = home.run(lock, "--offline", *option)
    assert (result.exit_code, "offline" in result.stderr, unpinned.exists()) == (2, True, False)
    assert hub.requests == []


def test_a_file_that_is_not_on_the_hub_is_an_error(home: Home, unpinned: Path, hub: HubServer) -> None:
    home.manifest.write_text(home.manifest.read_text().replace("Four.gguf", "Five.gguf"))
    result = home.run(lock)
    assert (result.exit_code, "Five.gguf" in result.stderr, unpinned.exists()) == (2, True, False)
    assert hub.asked("api")


def test_a_broken_lock_is_named_with_its_line(home: Home, unpinned: Path) -> None:
    unpinned.write_text("version = 1\n[builds.x]\nrepo = ")
    result = home.run(lock)
    assert (result.exit_code, "model_manifest.lock:3: this is not TOML" in result.stderr.replace("\n", "")) == (2, True)


def test_only_what_comes_from_the_hub_can_be_locked(home: Home) -> None:
    home.manifest.write_text('version = 1\n[models.a]\nbuilds = [{ name = "A", path = "a" }]')
    assert home.run(lock, "a").exit_code == 2

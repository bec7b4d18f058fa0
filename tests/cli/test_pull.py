"""`localrouter pull` as a person runs it, in a process of its own, against a hub on loopback."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hub_server import HubServer

from localrouter.cli.pull import pull
from localrouter.memory.machine import Machine

REPO, NAME = "owner/name", "Model-4B.gguf"
CONTENT = random.Random(5).randbytes(1_000_000)
PARTIAL = hashlib.sha256(CONTENT).hexdigest() + ".localrouter-partial"
# The command is run through the group, so that errors become words and a status as they do for a person.
MAIN = "from localrouter.cli import COMMANDS, main; COMMANDS['pull'] = ('localrouter.cli.pull', 'pull'); main()"
PATIENCE = 30

MANIFEST = """
version = 1
[models.house]
[[models.house.builds]]
name = "Model-4B"
variant = "4b"
repo = "{repo}"
file = "{file}"
revision = "{commit}"
size = {size}
sha256 = "{sha256}"
[[models.house.builds]]
name = "Loose"
variant = "loose"
repo = "{repo}"
file = "Loose.gguf"
[models.mine]
[[models.mine.builds]]
name = "Mine"
path = "Mine.gguf"
"""


class Home:
    """A person's machine: a manifest, a cache, and a hub on the other side."""

    def __init__(self, server: HubServer, folder: Path) -> None:
        self.server = server
        self.commit = server.add(REPO, NAME, CONTENT)
        self.manifest = folder / "manifest.toml"
        sha256 = hashlib.sha256(CONTENT).hexdigest()
        text = MANIFEST.format(repo=REPO, file=NAME, commit=self.commit, size=len(CONTENT), sha256=sha256)
        self.manifest.write_text(text)
        self.hub_home = folder / "hf"
        self.cache = self.hub_home / "hub"
        self.repo = self.cache / "models--owner--name"
        self.path = self.repo / "snapshots" / self.commit / NAME
        self.partial = self.repo / "blobs" / PARTIAL

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-W", "error", "-c", MAIN, "pull", "--manifest", str(self.manifest), *arguments],
            env=self.server.environment(self.hub_home, **environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Return status, stdout and stderr."""
        with self.start(*arguments, **environment) as process:
            out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with HubServer() as server:
        yield Home(server, tmp_path)


def until(true: Callable[[], bool]) -> None:
    """Wait for something that another process does to the disk, of which nobody tells."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_brings_a_model_and_prints_its_path(home: Home) -> None:
    status, out, err = home.run("house:4b")
    assert (status, out) == (0, f"{home.path}\n")
    assert home.path.read_bytes() == CONTENT
    assert "Model-4B.gguf: 1.00 MB of 1.00 MB (100 %)" in err
    assert "Model-4B: downloaded" in err


def test_what_is_here_already_is_said_and_fine(home: Home) -> None:
    home.run("house:4b")
    status, out, err = home.run("Model-4B")
    assert (status, out) == (0, f"{home.path}\n")
    assert "Model-4B: already present" in err
    assert home.server.served(NAME) == len(CONTENT)


def test_json_is_for_programs(home: Home) -> None:
    status, out, _ = home.run("house:4b", "--json")
    [build] = json.loads(out)
    [file] = build.pop("files")
    assert status == 0
    assert build == {
        "model": "Model-4B",
        "alias": "house",
        "state": "downloaded",
        "repo": REPO,
        "commit": home.commit,
    }
    assert (file["path"], file["size"], file["state"]) == (str(home.path), len(CONTENT), "downloaded")


def test_an_alias_says_which_build_is_taken(home: Home) -> None:
    status, out, err = home.run("house")
    assert (status, out) == (0, f"{home.path}\n")
    assert "house: Model-4B (1.00 MB), the largest of 2 builds that fits in " in err
    assert "For another: localrouter pull house:VARIANT" in err


@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_after_a_signal_only_the_rest_is_fetched(home: Home, kind: signal.Signals) -> None:
    home.server.inject(hold_after=600_000)
    with home.start("house:4b") as process:
        assert home.server.held.wait(PATIENCE)
        until(lambda: size(home.partial) == 600_000)
        process.send_signal(kind)
        _, err = process.communicate(timeout=PATIENCE)
    home.server.release.set()
    if kind is signal.SIGINT:
        assert process.returncode == 130
        assert "interrupted; run the same command again to resume" in err
    assert not home.path.exists()
    assert home.run("house:4b")[0] == 0
    assert home.path.read_bytes() == CONTENT
    last = home.server.requests[-1]
    assert (last.headers["Range"], last.sent) == ("bytes=600000-", 400_000)


def test_two_at_the_same_time_fetch_once(home: Home) -> None:
    home.server.inject(hold_after=500_000)
    with home.start("house:4b") as first:
        assert home.server.held.wait(PATIENCE)
        with home.start("house:4b") as second:
            assert second.stderr is not None
            assert any("waiting for another process" in line for line in second.stderr)
            home.server.release.set()
            assert second.communicate(timeout=PATIENCE)[0] == f"{home.path}\n"
        assert first.communicate(timeout=PATIENCE)[0] == f"{home.path}\n"
    assert (first.returncode, second.returncode) == (0, 0)
    assert home.server.served(NAME) == len(CONTENT)


def test_three_failures_are_told_and_survived(home: Home) -> None:
    home.server.inject(status=500, times=3)
    status, _, err = home.run("house:4b")
    assert status == 0
    assert err.count("the hub responded with status 500 Internal Server Error; trying again in") == 3


def test_a_gated_model_says_what_to_do(home: Home) -> None:
    home.server.repos[REPO].closed = "hf_secret"
    status, out, err = home.run("house:4b")
    assert (status, out) == (2, "")
    assert "error: owner/name is gated" in err
    assert f"hint: visit {home.server.endpoint}/owner/name, accept the terms, then set HF_TOKEN" in err
    assert home.run("house:4b", HF_TOKEN="hf_secret")[0] == 0


def test_a_changed_file_is_refused(home: Home) -> None:
    home.manifest.write_text(home.manifest.read_text().replace(hashlib.sha256(CONTENT).hexdigest(), "0" * 64))
    status, out, err = home.run("house:4b")
    assert (status, out) == (2, "")
    assert "the hub's Model-4B.gguf is not the pinned one" in err
    assert home.server.served() == 0


def test_a_build_without_a_pin_is_refused(home: Home) -> None:
    status, out, err = home.run("house:loose")
    assert (status, out) == (2, "")
    assert "error: Loose: not pinned" in err
    assert "localrouter lock house:loose" in err
    assert home.server.requests == []


def test_unlocked_takes_what_the_hub_has_and_names_the_risk(home: Home) -> None:
    first = home.server.add(REPO, "Loose.gguf", b"as it was")
    status, out, err = home.run("house:loose", "--unlocked")
    assert (status, Path(out.strip()).read_bytes()) == (0, b"as it was")
    assert "warning: Loose is not pinned" in err
    assert (home.repo / "refs" / "main").read_text() == first
    second = home.server.add(REPO, "Loose.gguf", b"as it is")
    assert Path(home.run("house:loose", "--unlocked")[1].strip()).read_bytes() == b"as it is"
    assert (home.repo / "refs" / "main").read_text() == second


@pytest.mark.parametrize("way", ["--offline", "LOCALROUTER_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_says_what_is_lacking(home: Home, way: str) -> None:
    arguments, environment = (["--offline"], {}) if way == "--offline" else ([], {way: "1"})
    status, out, err = home.run("house:4b", *arguments, **environment)
    assert (status, out) == (2, "")
    assert "error: not on this machine, and localrouter is offline: Model-4B.gguf" in err
    assert "localrouter bundle import" in err
    assert home.server.requests == []


def test_offline_takes_what_is_here(home: Home) -> None:
    home.server.add(REPO, "Loose.gguf", b"loose")
    home.run("house:4b", "house:loose", "--unlocked")
    before = len(home.server.requests)
    status, out, _ = home.run("house:4b", "house:loose", "--unlocked", "--offline")
    assert (status, len(out.splitlines())) == (0, 2)
    assert len(home.server.requests) == before


def test_a_cache_that_cannot_be_made_is_named(home: Home) -> None:
    home.hub_home.mkdir()
    home.cache.write_text("a file where the cache should be")
    status, _, err = home.run("house:4b")
    assert status == 2
    assert f"error: the cache {home.cache} cannot be written" in err


def run(home: Home, *arguments: str) -> Any:
    """Run in this process, which is quicker; for what needs no hub."""
    return CliRunner().invoke(pull, ["--manifest", str(home.manifest), *arguments], env={"LOCALROUTER_OFFLINE": ""})


def test_a_file_of_this_machine_is_only_looked_for(home: Home) -> None:
    result = run(home, "mine")
    assert "Mine: the local file is missing" in str(result.exception)
    path = home.manifest.parent / "Mine.gguf"
    path.write_bytes(b"mine")
    assert run(home, "mine").stdout == f"{path}\n"
    [build] = json.loads(run(home, "mine", "--json").stdout)
    assert (build["state"], build["repo"]) == ("present", None)
    assert build["files"] == [{"path": str(path), "size": 4, "sha256": None, "state": "present"}]


CHOICE = """
version = 1
[models.sizes]
[[models.sizes.builds]]
name = "Large"
repo = "o/n"
file = "Large.gguf"
size = 9_000_000_000
shape = { full_attention_layers = 10, kv_heads = 8, head_len = 256 }
[[models.sizes.builds]]
name = "Small"
repo = "o/n"
file = "Small.gguf"
size = 4_000_000_000
[[models.sizes.builds]]
name = "Mine"
path = "Mine.gguf"
size = 1_000_000
"""


def meant(home: Home, monkeypatch: pytest.MonkeyPatch, machine: Machine, manifest: str = CHOICE) -> str:
    """What pull says of its choice, offline, so that nothing is brought."""
    monkeypatch.setattr("localrouter.cli.settings.this_machine", lambda _: machine)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    home.manifest.write_text(manifest)
    return str(run(home, "sizes", "--unlocked", "--offline").stderr.splitlines()[0])


def test_the_largest_build_that_an_idle_machine_holds_is_meant(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = Machine(1, 16 * 10**9)
    why = "sizes: Large (9.00 GB), the largest of 2 builds that fits in 11 GB. For another: localrouter pull"
    assert meant(home, monkeypatch, busy).startswith(why)
    assert meant(home, monkeypatch, Machine(1, 10**9)).startswith("sizes: Small (4.00 GB), the smallest of 2 builds")


def test_the_cache_that_the_manifest_tells_of_counts(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of 9 GB and a cache of 40,960 cells of 80 kB do not fit into 11 GB."""
    longer = CHOICE.replace("[models.sizes]", "[models.sizes]\ncontext = 40960")
    assert meant(home, monkeypatch, Machine(1, 16 * 10**9), longer).startswith("sizes: Small")


def test_a_local_build_is_meant_only_where_none_can_be_downloaded(home: Home) -> None:
    path = home.manifest.parent / "Mine.gguf"
    path.write_bytes(b"mine")
    home.manifest.write_text(CHOICE[: CHOICE.index("[[")] + CHOICE[CHOICE.rindex("[[") :].replace("1_000_000", "4"))
    assert run(home, "sizes").stdout == f"{path}\n"


def test_an_unknown_name_lists_those_there_are(home: Home) -> None:
    assert "There are: house, mine." in str(run(home, "hause").exception)


def test_a_name_is_needed(home: Home) -> None:
    assert run(home).exit_code == 2


def test_the_help_page_has_the_exit_statuses(home: Home) -> None:
    text = " ".join(run(home, "--help").stdout.split())
    for words in ("0 all models are on this machine", "2 error", "130 interrupted"):
        assert words in text


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is asked of Linux")
def test_memory_does_not_grow_with_the_file(home: Home) -> None:
    # getrusage would count what this process, which forks, has used.
    code = (
        "import sys; from localrouter.cli.pull import pull; pull(standalone_mode=False); "
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0], file=sys.stderr)"
    )
    large = home.manifest.parent / "large"
    with large.open("wb") as file:
        file.truncate(200_000_000)
    home.server.add(REPO, "Loose.gguf", large)
    command = [sys.executable, "-c", code, "house:loose", "--unlocked", "--manifest", str(home.manifest)]
    environment = home.server.environment(home.hub_home)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert int(done.stderr.split()[-1]) * 1024 < 150_000_000
    assert os.path.getsize(done.stdout.strip()) == 200_000_000

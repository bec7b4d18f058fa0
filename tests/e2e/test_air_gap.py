"""One file takes localrouter and two models to a machine that has Python and no network at all.

It compiles llama.cpp the first time and installs everything, so it runs only when asked for: `make test-air-gap`.
"""

import json
import os
import subprocess
import sys
import tarfile
import venv
from pathlib import Path
from typing import Any

import pytest

from benchmarks.shapes import Shape
from benchmarks.synthetic import write_model
from benchmarks.vocabulary import made_up

ROOT = Path(__file__).resolve().parents[2]
WORDS = made_up(2000)
SHAPE = Shape(
    "qwen3", layers=1, width=64, heads=2, kv_heads=1, head=32, feed_forward=64, context=512, vocabulary=WORDS.size
)
MANIFEST = """version = 1
[[models.demo.builds]]
name = "localrouter-demo-Q8_0"
asset = "demo.gguf"
[[models.noise.builds]]
name = "Noise-Q8_0"
path = "Noise-Q8_0.gguf"
"""
PIP = ["-m", "pip", "--disable-pip-version-check", "install", "--no-index", "--find-links", "wheels"]
STEPS = [
    ["python", *PIP, "--require-hashes", "-r", "wheels/requirements.txt"],
    ["localrouter", "bundle", "verify", "house.tar"],
    ["localrouter", "bundle", "import", "house.tar", "--json"],
    ["localrouter", "verify"],
]
OFFLINE = {
    "list": [],
    "show": ["demo"],
    "pull": ["qwen:0.8b"],
    "remove": ["--yes", "noise"],
    "prune": ["--yes"],
    "du": [],
    "add": ["other", "hub:them/It-GGUF/It-Q8_0.gguf"],
    "verify": [],
    "lock": [],
    "plan": ["demo"],
    "bundle": ["create", "again.tar", "demo", "--with-wheels"],
}
"""Arguments of every command but serve, the ones that would like a network where there is a choice."""

NAMESPACE = """
import ctypes, fcntl, json, os, socket, struct, subprocess, sys, time, urllib.request
from pathlib import Path

CLONE_NEWNET, CLONE_NEWUSER = 0x40000000, 0x10000000
libc = ctypes.CDLL(None)
if libc.unshare(CLONE_NEWNET) and libc.unshare(CLONE_NEWUSER | CLONE_NEWNET):
    sys.exit(77)
with socket.socket() as lo:
    fcntl.ioctl(lo, 0x8914, struct.pack("16sh14x", b"lo", 1))
with socket.socket() as out:
    assert out.connect_ex(("192.0.2.1", 80)), "this namespace has a way out"
"""
RUN = (
    NAMESPACE
    + """
bin = Path(sys.argv[1])
report = []
for name, *arguments in json.loads(sys.argv[2]):
    run = subprocess.run([bin / name, *arguments], capture_output=True, text=True)
    report.append({"command": [name, *arguments], "status": run.returncode, "out": run.stdout, "err": run.stderr})
print(json.dumps(report))
"""
)
ASK = (
    NAMESPACE
    + """
server = subprocess.Popen([Path(sys.argv[1]) / "localrouter", "serve", "--offline", "--port", "0", "--threads", "1"],
                          stderr=subprocess.PIPE, text=True)
log = []
for line in server.stderr:
    log.append(line)
    if "base_url: " in line:
        break
else:
    sys.exit("".join(log))
url = line.split("base_url: ")[1].strip()
answers = {}
for model in ("demo", "noise"):
    body = {"model": model, "temperature": 0, "max_tokens": 12,
            "messages": [{"role": "user", "content": "What is the capital of Italy?"}]}
    request = urllib.request.Request(url + "/chat/completions", json.dumps(body).encode(),
                                     {"content-type": "application/json"})
    with urllib.request.urlopen(request) as response:
        answers[model] = json.load(response)
server.terminate()
server.communicate()
print(json.dumps(answers))
"""
)
WATCH = """
import os, sys

def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        address = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
        host = address[0] if isinstance(address, tuple) else address
        local = event != "socket.getaddrinfo" and not isinstance(address, tuple)  # a unix socket
        if not local and host not in ("127.0.0.1", "::1", "localhost", None):
            with open(os.environ["OUTWARD"], "a") as file:
                file.write(f"{sys.argv}: {event} {address}\\n")
            raise PermissionError(f"{event} {address} leaves the machine")

sys.addaudithook(watch)
"""

pytestmark = [
    pytest.mark.skipif("LOCALROUTER_AIR_GAP" not in os.environ, reason="compiles llama.cpp; run `make test-air-gap`"),
    pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's"),
]


class Machine:
    """A home, an empty environment, and no network. `outward` is written by whatever tries to leave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outward = folder / "outward"
        watch = folder / "watch"
        watch.mkdir()
        (watch / "sitecustomize.py").write_text(WATCH)
        venv.create(folder / "venv", with_pip=True)
        self._environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "PIP_CONFIG_FILE": os.devnull,
            "PYTHONPATH": str(watch),
            "OUTWARD": str(self.outward),
            "COLUMNS": "200",
        }

    def run(self, script: str, *arguments: str, **environment: str) -> Any:
        """What a script prints inside the namespace."""
        run = subprocess.run(
            [sys.executable, "-I", "-c", script, str(self.folder / "venv/bin"), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=self._environment | environment,
        )
        if run.returncode == 77:
            pytest.skip("this user may not make a network namespace")
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine on which everything was installed and imported from one bundle, and checked."""
    sender = tmp_path_factory.mktemp("sender")
    write_model(sender / "Noise-Q8_0.gguf", "noise", SHAPE, WORDS, seed=3)
    (sender / "m.toml").write_text(MANIFEST)
    machine = Machine(tmp_path_factory.mktemp("receiver"))
    out = machine.folder / "house.tar"
    create = ["bundle", "create", str(out), "demo", "noise", "--with-wheels", "--manifest", str(sender / "m.toml")]
    subprocess.run([sys.executable, "-m", "localrouter", *create], cwd=ROOT, check=True)
    with tarfile.open(out) as tar:  # as `tar -xf house.tar wheels` does
        tar.extractall(machine.folder, [each for each in tar if each.name.startswith("wheels/")], filter="data")
    for step in machine.run(RUN, json.dumps(STEPS)):
        assert step["status"] == 0, step
    return machine


def test_it_serves_and_answers(machine: Machine) -> None:
    answers = machine.run(ASK)
    assert answers["demo"]["choices"][0]["message"]["content"] == "The capital of Italy is Rome."
    assert answers["noise"]["model"] == "Noise-Q8_0"
    assert answers["noise"]["usage"]["completion_tokens"] > 0
    assert not machine.outward.exists()


def test_no_command_leaves_the_machine_when_it_is_told_to_stay(machine: Machine) -> None:
    from localrouter.cli import COMMANDS  # noqa: PLC0415

    assert {*OFFLINE, "serve"} == {*COMMANDS}
    steps = [["localrouter", name, *arguments] for name, arguments in OFFLINE.items()]
    done = machine.run(RUN, json.dumps(steps), LOCALROUTER_OFFLINE="1")
    assert not machine.outward.exists(), machine.outward.read_text()
    for step in done:
        assert "Traceback" not in step["err"], step
        assert step["status"] in (0, 1, 2), step


def test_the_watch_itself_sees_what_leaves(machine: Machine) -> None:
    code = "import socket\ntry: socket.create_connection(('192.0.2.1', 80), 1)\nexcept OSError: pass"
    machine.run(RUN, json.dumps([["python", "-c", code]]))
    assert "192.0.2.1" in machine.outward.read_text()
    machine.outward.unlink()

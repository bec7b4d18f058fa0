"""Processes that can reach nothing: no interface but loopback, no home but an empty one, and a watch over them.

Two guards stand around a process. A network namespace without a route stops whatever it runs, native code too. A hook
in every Python process under it stops each connection, message and look-up to elsewhere than loopback, and writes it
down, because a program could try, fail and say nothing.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

NO_NAMESPACE = 77
ENTER = f"""
import ctypes, fcntl, os, socket, struct, sys

NEWNS, NEWUSER, NEWNET = 0x20000, 0x10000000, 0x40000000
PRIVATE = 0x44000  # MS_REC | MS_PRIVATE: what is mounted here is mounted nowhere else
libc = ctypes.CDLL(None)

def mount(kind, folder, flags):
    if libc.mount(None, os.fsencode(folder), kind, flags, None):
        raise PermissionError(folder)

try:
    if libc.unshare(NEWNET | NEWNS) and libc.unshare(NEWUSER | NEWNET | NEWNS):
        raise PermissionError("unshare")
    with socket.socket() as loopback:  # it is there, and down
        fcntl.ioctl(loopback, 0x8914, struct.pack("16sh14x", b"lo", 1))
    mount(None, "/", PRIVATE)
    for folder in filter(None, sys.argv[1].split(":")):
        mount(b"tmpfs", folder, 0)
        assert os.listdir(folder) == [], folder
except PermissionError:  # some systems let everybody make a namespace, and do nothing in it
    sys.exit({NO_NAMESPACE})
with socket.socket() as out:
    assert out.connect_ex(("192.0.2.1", 80)), "this namespace has a way out"
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""Makes a namespace, hides folders (a list with colons) under empty ones, and becomes the command behind that."""

WATCH = """
import os, sys

INTERNET = (2, 10)  # AF_INET, AF_INET6
LOOPBACK = ("127.0.0.1", "::1", "localhost", b"localhost", None)
NAMES = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
ADDRESSES = ("socket.connect", "socket.sendto", "socket.sendmsg")

def note(kind, words):
    file = os.open(os.path.join(os.environ["WATCH"], kind), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(file, f"{words}\\n".encode())
    os.close(file)

def watch(event, arguments):
    if event in NAMES:
        host = arguments[0]
    elif event in ADDRESSES and arguments[0].family in INTERNET and arguments[1] is not None:
        host = arguments[1][0]
    else:
        return
    if host not in LOOPBACK:
        note("tried", f"{sys.orig_argv} {event} {host!r}")
        raise PermissionError(f"{event} {host!r} leaves the machine")

sys.addaudithook(watch)
note("watched", sys.orig_argv)
"""
"""As `sitecustomize` it is run before anything else. What is tried is written down in the folder $WATCH."""

ASK = """
import json, subprocess, sys, urllib.error, urllib.request

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
server = subprocess.Popen(json.loads(sys.argv[1]), stderr=subprocess.PIPE, text=True)
said = []
for line in server.stderr:
    said.append(line)
    if "base_url: " in line:
        break
else:
    sys.exit("".join(said))
url = line.split("base_url: ")[1].strip() + "/chat/completions"
answers = {}
for model in json.loads(sys.argv[2]):
    body = {"model": model, "temperature": 0, "max_tokens": 12,
            "messages": [{"role": "user", "content": "What is the capital of Italy?"}]}
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    try:
        with OPENER.open(request) as response:
            answers[model] = [response.status, json.load(response)]
    except urllib.error.HTTPError as refusal:
        answers[model] = [refusal.code, json.load(refusal)]
server.terminate()
server.communicate()
print(json.dumps(answers))
"""
"""Starts a server, asks several models the same question, and prints status and answer of each."""


class Island:
    """A folder that is the whole world of its processes. `home` is the working directory and $HOME, empty at first."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.watch = folder / "watch"
        self.notes = folder / "notes"
        self.python = Path(sys.executable)
        self.hidden: tuple[Path, ...] = ()
        """Folders that are empty for these processes, where there are namespaces."""
        for made in (self.home, self.watch, self.notes):
            made.mkdir(parents=True)
        (self.watch / "sitecustomize.py").write_text(WATCH)
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.home),
            "WATCH": str(self.notes),
            "COLUMNS": "200",
            "NO_COLOR": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def run(self, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. Nothing of the caller's environment reaches it."""
        hidden = ":".join(str(folder) for folder in self.hidden if folder.is_dir())
        enter = [sys.executable, "-I", "-S", "-c", ENTER, hidden] if has_namespaces() else []
        return subprocess.run(
            [*enter, *command],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.home,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
        )

    def ask(self, serve: Sequence[str | Path], *models: str) -> Any:
        """Return status and body of the answer of each model of a server, which is started for this."""
        asked = json.dumps([*map(str, serve)]), json.dumps(models)
        done = self.run(self.python, "-I", "-S", "-c", ASK, *asked)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @property
    def tried(self) -> str:
        """What tried to leave, a line each."""
        return self._notes("tried")

    @property
    def watched(self) -> str:
        """The command lines of all Python processes that had the watch in them."""
        return self._notes("watched")

    def forget(self) -> None:
        """Take all notes away."""
        for note in self.notes.iterdir():
            note.unlink()

    def _notes(self, kind: str) -> str:
        note = self.notes / kind
        return note.read_text(encoding="utf-8") if note.exists() else ""


@cache
def has_namespaces() -> bool:
    """Whether this user may make a namespace of mounts and network."""
    if sys.platform != "linux":
        return False
    enter = [sys.executable, "-I", "-S", "-c", ENTER, "", "true"]
    done = subprocess.run(enter, capture_output=True, text=True, check=False)
    assert done.returncode in (0, NO_NAMESPACE), done.stderr
    return done.returncode == 0


needs_namespaces = pytest.mark.skipif(
    not has_namespaces(), reason="this user may not make a network namespace, or this system has none"
)

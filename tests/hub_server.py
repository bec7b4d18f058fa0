"""A Hugging Face hub on loopback: speaks the real protocol to the real client, counts what it serves, fails on demand.

    with HubServer() as hub:
        commit = hub.add("owner/name", "model.gguf", content)
        hub.inject(on="storage", cut_after=5000)
        ...
        assert hub.served("model.gguf") == len(content)

Pass `hub.endpoint` to what runs in this process, or `hub.environment(home)` to a process of its own. As on the real
hub, big files are redirected to a second host, which refuses the token of the first. `python tests/hub_server.py
FOLDER` serves FOLDER/OWNER/NAME/FILE until it is stopped.
"""

import hashlib
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Literal

from hub_http import Host, HubHandler, StorageHandler

Where = Literal["api", "resolve", "storage"]
PIECE = 64 * 1024


@dataclass(frozen=True)
class Blob:
    """The content of a file, in memory or on disk."""

    content: bytes | Path
    lfs: bool = True
    xet: bool = False
    """Stands on Xet storage, as its headers say; it is served over HTTP all the same."""

    @cached_property
    def size(self) -> int:
        return len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size

    @cached_property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        for piece in self.read(0, self.size):
            digest.update(piece)
        return digest.hexdigest()

    @cached_property
    def etag(self) -> str:
        if self.lfs:
            return self.sha256
        whole = b"".join(self.read(0, self.size))
        return hashlib.sha1(b"blob %d\0" % len(whole) + whole).hexdigest()

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        if isinstance(self.content, bytes):
            yield from (self.content[at : min(at + PIECE, stop)] for at in range(start, stop, PIECE))
            return
        with self.content.open("rb") as file:
            file.seek(start)
            while start < stop and (piece := file.read(min(PIECE, stop - start))):
                start += len(piece)
                yield piece


@dataclass
class Repo:
    """A repository. `closed`: gated, and answers only to this token."""

    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    license: str | None = "apache-2.0"
    closed: str | None = None

    def commit(self, revision: str) -> str | None:
        return self.refs.get(revision, revision if revision in self.commits else None)


@dataclass
class Fault:
    """What goes wrong with the next `times` answers, of one file or of any. Byte counts are of the answer's body."""

    on: Where = "storage"
    times: int = 1
    file: str | None = None
    status: int | None = None
    """Answer with this status, and with `headers`."""
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    """Close the connection after so many bytes, although the header promised all."""
    flip: int | None = None
    """Change one bit of the byte at this place of the file."""
    shorter: int | None = None
    """Serve a file of only so many bytes, with headers that agree."""
    hold_after: int | None = None
    """Set `hub.held` after so many bytes and go on when `hub.release` is set."""
    ignore_range: bool = False
    rate: int | None = None
    """Bytes per second."""


@dataclass
class Request:
    """One request that came. `sent` counts the bytes of the body that were answered."""

    where: Where
    method: str
    path: str
    file: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


class HubServer:
    """The hub, and the second host that holds its big files."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.held = threading.Event()
        self.release = threading.Event()
        self.problems: list[BaseException] = []
        self._mutex = threading.Lock()
        self._hosts = [Host(self, HubHandler), Host(self, StorageHandler)]
        self.endpoint, self.storage = (f"http://127.0.0.1:{host.server_port}" for host in self._hosts)

    def __enter__(self) -> "HubServer":
        for host in self._hosts:
            host.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        for host in self._hosts:
            host.shutdown()
            host.server_close()
            host.thread.join()
        assert not self.problems, self.problems

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """Return the environment for a process that uses this hub, with a cache of its own below `home`."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "LOCALROUTER_"))}
        return kept | {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "NO_COLOR": "1"} | more

    def add(self, repo: str, file: str, content: bytes | Path, *, branch: str = "main", **how: bool) -> str:
        """Add or replace a file in a new commit at the head of a branch; return the commit. `how`: fields of Blob."""
        there = self.repos.setdefault(repo, Repo())
        parent = there.refs.get(branch, "")
        blob = Blob(content, **how)
        commit = hashlib.sha1(f"{parent} {repo} {file} {blob.etag}".encode()).hexdigest()
        there.commits[commit] = there.commits.get(parent, {}) | {file: blob}
        there.refs[branch] = commit
        return commit

    def note(self, where: Where, handler: BaseHTTPRequestHandler, file: str) -> Request:
        """Write a request down, before it is answered."""
        self.requests.append(Request(where, handler.command, handler.path, file, dict(handler.headers.items())))
        return self.requests[-1]

    def inject(self, **fault: Any) -> Fault:
        """Let the next answers fail; the fields are those of Fault."""
        self.faults.append(Fault(**fault))
        return self.faults[-1]

    def fault_for(self, where: Where, file: str, method: str) -> Fault:
        """Return the fault that this answer has; what concerns the body does not touch a HEAD."""
        with self._mutex:
            for fault in self.faults:
                bodiless = method == "HEAD" and fault.status is None
                if fault.times > 0 and fault.on == where and fault.file in (None, file) and not bodiless:
                    fault.times -= 1
                    return fault
        return Fault()

    def served(self, file: str | None = None) -> int:
        """Return the bytes of bodies sent of a file, or of all."""
        return sum(each.sent for each in self.requests if each.where != "api" and file in (None, each.file))

    def asked(self, where: Where, method: str = "GET") -> int:
        """Return the number of requests that came."""
        return sum(each.where == where and each.method == method for each in self.requests)


def _serve_folder(folder: Path) -> None:
    with HubServer() as hub:
        for file in sorted(folder.glob("*/*/*")):
            commit = hub.add("/".join(file.parts[-3:-1]), file.name, file)
            sys.stdout.write(f"{'/'.join(file.parts[-3:])} {commit} {Blob(file).sha256}\n")
        sys.stdout.write(f"HF_ENDPOINT={hub.endpoint}\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    _serve_folder(Path(sys.argv[1]).resolve())

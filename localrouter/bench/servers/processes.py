"""Programs that a benchmark starts. Each is ended by its own id, with everything that it started, come what may."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from localrouter.errors import OperatorError

STOP_SECONDS = 20
_LAST_WORDS = 2000
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class ProgramFailed(OperatorError):
    """A program ended too early or did not get ready; the message holds its last words."""


@dataclass
class Program:
    """A running program. What it says goes into a file, so that it can never wait for a reader."""

    process: subprocess.Popen[bytes]
    output: Path

    @property
    def said(self) -> str:
        """Everything it has said so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    @property
    def last_words(self) -> str:
        """The end of what it has said: enough for an error message."""
        return self.said[-_LAST_WORDS:]

    def check(self) -> None:
        """Raise ProgramFailed when it has ended."""
        code = self.process.poll()
        if code is not None:
            raise ProgramFailed(f"{self.process.args!s} ended with status {code}:\n{self.last_words}")

    @property
    def workers(self) -> list[int]:
        """The ids of the processes that it has started, and they in turn."""
        found, parents = list[int](), {self.process.pid}
        table = _processes()
        while parents:
            children = {pid for pid, (parent, _) in table.items() if parent in parents}
            found += sorted(children)
            parents = children
        return found


@contextmanager
def running(arguments: Sequence[str | Path], environment: Mapping[str, str]) -> Iterator[Program]:
    """Start a program, and end it and what it has started when the block ends.

    It gets a process group of its own: Ctrl-C is for us, and whatever stays behind is found by the group.
    """
    with tempfile.TemporaryDirectory(prefix="localrouter-bench-") as folder:
        output = Path(folder) / "output"
        with output.open("wb") as stream:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                start_new_session=True,
            )
        try:
            yield Program(process, output)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, and kill the group when it has, when it takes too long, or when Ctrl-C comes once more."""
    process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    finally:
        with suppress(ProcessLookupError, PermissionError):  # macOS refuses for a group that has just ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def rss(pid: int) -> int:
    """Return the bytes of memory that a process holds; 0 when it is gone."""
    return _processes().get(pid, (0, 0))[1]


def _processes() -> dict[int, tuple[int, int]]:
    """Return the parent and the bytes held of every process, by its id."""
    return _from_proc(Path("/proc")) if sys.platform == "linux" else _from_ps()


def _from_proc(root: Path) -> dict[int, tuple[int, int]]:
    """Fields 4 and 24 of proc_pid_stat(5); the name, field 2, may hold anything."""
    found = {}
    for folder in root.iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):  # it has ended
                fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
                found[int(folder.name)] = int(fields[1]), int(fields[21]) * _PAGE
    return found


def _from_ps() -> dict[int, tuple[int, int]]:
    ran = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,rss="], capture_output=True, text=True, check=False)
    rows = [line.split() for line in ran.stdout.splitlines()]
    return {int(pid): (int(parent), int(kib) * 1024) for pid, parent, kib in rows}

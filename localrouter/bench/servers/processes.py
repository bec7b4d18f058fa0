"""Processes that a benchmark starts, and ends with all their children, also after errors."""

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
    """A program ended too early or did not become ready; the message includes the end of its output."""


@dataclass
class Program:
    """A running program. Its output goes to a file, so that it never blocks on a full pipe."""

    process: subprocess.Popen[bytes]
    output: Path

    @property
    def text(self) -> str:
        """Output of the program so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    @property
    def last_words(self) -> str:
        """End of the output, for error messages."""
        return self.text[-_LAST_WORDS:]

    def check(self) -> None:
        """Raise ProgramFailed when the program has ended."""
        code = self.process.poll()
        if code is not None:
            raise ProgramFailed(f"{self.process.args!s} ended with status {code}:\n{self.last_words}")

    @property
    def workers(self) -> list[int]:
        """Process ids of all descendants of the program."""
        found, parents = list[int](), {self.process.pid}
        table = _processes()
        while parents:
            children = {pid for pid, (parent, _) in table.items() if parent in parents}
            found += sorted(children)
            parents = children
        return found


@contextmanager
def running(arguments: Sequence[str | Path], environment: Mapping[str, str]) -> Iterator[Program]:
    """Start a program, and end it and its children when the block ends.

    The program has a process group of its own, so that Ctrl-C does not reach it and remaining children can be killed.
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
    """Terminate a process, then kill its group: after it has ended, after a timeout, or after another Ctrl-C."""
    process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    finally:
        with suppress(ProcessLookupError, PermissionError):  # macOS refuses for a group that has just ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def rss(pid: int) -> int:
    """Return the resident memory of a process in bytes; 0 when it has ended."""
    return _processes().get(pid, (0, 0))[1]


def _processes() -> dict[int, tuple[int, int]]:
    """Return the parent and the resident memory in bytes of every process, by process id."""
    return _from_proc(Path("/proc")) if sys.platform == "linux" else _from_ps()


def _from_proc(root: Path) -> dict[int, tuple[int, int]]:
    """Return fields 4 and 24 of proc_pid_stat(5) by process id; field 2, the name, may contain any character."""
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

"""Run time and peak memory of one command in a process of its own."""

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from localrouter.bench.servers.processes import Program, ProgramFailed, running

STARTER = """
import json, os, sys, time
began = time.perf_counter()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, used = os.wait4(child, 0)
seconds = time.perf_counter() - began
peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
with open(sys.argv[1], "w") as file:
    json.dump({"seconds": seconds, "peak": peak, "status": os.waitstatus_to_exitcode(status)}, file)
"""
"""Program that starts a command, waits for it, and writes a report of its run time and peak memory.

The kernel counts the peak of a process (`ru_maxrss`) from its fork, when it is still a copy of its parent, and does not
reset it at exec: started from here, `true` would seem to use all memory of this process. So a small process without
site-packages starts the command; its own 10 MB are the smallest peak that can be measured. The peak is that of the
largest process, if the command starts others, and includes pages of mapped files.
"""
Command: TypeAlias = Sequence[str | Path]
PYTHON = (sys.executable, "-I", "-S", "-c")


@dataclass(frozen=True)
class Run:
    """Cost of one run of a command: seconds, and peak memory in bytes."""

    seconds: float
    peak: int


def run(command: Command, environment: Mapping[str, str], folder: Path) -> Run:
    """Run a command to its end; its report is written to `folder`. Raises ProgramFailed unless it succeeds."""
    with started(command, environment, folder) as program:
        program.process.wait()
        return _result(program, command, folder)


@contextmanager
def started(command: Command, environment: Mapping[str, str], folder: Path) -> Iterator[Program]:
    """Run a command while the block lasts; the command is the only worker of the given program."""
    found = _report(folder)
    found.unlink(missing_ok=True)
    with running([*PYTHON, STARTER, found, *command], environment) as program:
        yield program


def kill(program: Program) -> None:
    """End a command that was `started` with SIGKILL, as a power cut would. Raises ProgramFailed if it ended before."""
    program.check()
    for worker in program.workers:
        os.kill(worker, signal.SIGKILL)
    program.process.wait()


def _report(folder: Path) -> Path:
    return folder / "command.json"


def _result(program: Program, command: Command, folder: Path) -> Run:
    found = json.loads(_report(folder).read_text(encoding="utf-8")) if _report(folder).exists() else {}
    if found.get("status") != 0:
        name = " ".join(str(word) for word in command)
        raise ProgramFailed(f"{name} ended with status {found.get('status', 'unknown')}:\n{program.last_words}")
    return Run(found["seconds"], found["peak"])

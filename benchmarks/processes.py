"""Programs that a benchmark starts, and what they use of the machine. Each is ended by its own id, come what may."""

import os
import platform
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

STOP_SECONDS = 20
_LAST_WORDS = 2000


class ProgramFailed(Exception):
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
        """The ids of the processes that it has started."""
        return [child.pid for child in psutil.Process(self.process.pid).children(recursive=True)]


@contextmanager
def running(arguments: Sequence[str | Path], environment: Mapping[str, str]) -> Iterator[Program]:
    """Start a program, and end it and what it has started when the block ends."""
    with tempfile.TemporaryDirectory(prefix="localrouter-bench-") as folder:
        output = Path(folder) / "output"
        with output.open("wb") as stream:
            process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, env=dict(environment)
            )
        try:
            yield Program(process, output)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(children, timeout=2)
    for child in alive:
        child.kill()


def rss(pid: int) -> int:
    """Return the bytes of memory that a process holds."""
    return int(psutil.Process(pid).memory_info().rss)


def cpu_share(pids: Sequence[int], seconds: float) -> float:
    """Return the share of one core that the processes use together while `seconds` pass."""
    processes = [psutil.Process(pid) for pid in pids]
    start, before = time.perf_counter(), sum(_cpu_seconds(process) for process in processes)
    time.sleep(seconds)
    return (sum(_cpu_seconds(process) for process in processes) - before) / (time.perf_counter() - start)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@dataclass(frozen=True)
class Machine:
    """Where figures were taken, and how busy it was before."""

    cpu: str
    cores: int
    memory: int
    system: str
    python: str
    busy: float
    """Share of all cores that other programs used while this was asked."""

    @classmethod
    def this(cls) -> "Machine":
        """Return the machine that this runs on. Takes a second."""
        return cls(
            cpu=_cpu_name(),
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            memory=int(psutil.virtual_memory().total),
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            busy=float(psutil.cpu_percent(interval=1.0)) / 100,
        )


def cpu_facts() -> str:
    """Return what Linux says of the CPU; nothing elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""


def _cpu_name() -> str:
    names = [line.partition(":")[2].strip() for line in cpu_facts().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()

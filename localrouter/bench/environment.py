"""Where figures were taken: the machine, how busy it was before, and which localrouter ran."""

import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import localrouter
from localrouter.memory.machine import this_machine

BUSY = 0.2
"""Share of the machine that others may use before a run is said to be disturbed."""
_SECONDS = 1.0
QUIET = 0.1
"""The same share, under which the next run can begin."""
_MOMENT, _LOOKS = 1.2, 15
"""Seconds before the first look, and looks of a second each: other programs may never be quiet."""


@dataclass(frozen=True)
class Environment:
    """A machine; memory in bytes."""

    cpu: str
    cores: int
    """Those that this process may use."""
    memory: int
    system: str
    python: str
    busy: float
    """Share of all cores that other programs used while this was asked."""
    gpus: tuple[str, ...] = ()
    """Those that llama.cpp was built for."""

    @classmethod
    def this(cls) -> "Environment":
        """Return the machine that this runs on. Takes a second."""
        memory = this_machine()
        return cls(
            cpu=_cpu_name(),
            cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            memory=memory.ram_total,
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            busy=_busy(),
            gpus=tuple(gpu.name for gpu in memory.gpus),
        )

    def __str__(self) -> str:
        gpus = "".join(f"{gpu}, " for gpu in self.gpus)
        return (
            f"{self.cpu}, {self.cores} {'core' if self.cores == 1 else 'cores'}, {self.memory / 2**30:.0f} GiB, {gpus}"
            f"{self.system}, Python {self.python}, llama-cpp-python {version('llama-cpp-python')}"
        )


def settle() -> None:
    """Wait until nothing computes, but not for long: a server may put things in order a moment after its answer."""
    time.sleep(_MOMENT)
    for _ in range(_LOOKS):
        if _busy() < QUIET:
            return


def source() -> str:
    """Return which localrouter this is: the commit where it runs from a checkout, else the version."""
    root = Path(localrouter.__file__).parents[1]
    if (root / ".git").exists() and (root / "pyproject.toml").exists():
        told = _said(["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=8", "--exclude=*"])
        if told:
            return f"commit {told.replace('-dirty', ' with changes')}"
    return f"version {localrouter.__version__}"


def cpu_facts() -> str:
    """Return what Linux says of the CPU; nothing elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""


def _cpu_name() -> str:
    if sys.platform == "darwin":
        return _said(["sysctl", "-n", "machdep.cpu.brand_string"]) or platform.machine()
    names = [line.partition(":")[2].strip() for line in cpu_facts().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _busy() -> float:
    """Look at the clocks of Linux for a second; elsewhere the load of the last minute has to do."""
    before = _jiffies()
    if before is None:
        return min(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)) if hasattr(os, "getloadavg") else 0.0
    time.sleep(_SECONDS)
    idle, total = (after - first for first, after in zip(before, _jiffies() or before, strict=True))
    return 1 - idle / total if total else 0.0


def _jiffies() -> tuple[int, int] | None:
    """Return the idle and the whole time of all cores since the start, as /proc/stat counts them (proc_stat(5))."""
    try:
        cpu = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]
    except OSError:
        return None
    times = [int(each) for each in cpu]
    return times[3] + times[4], sum(times)


def _said(command: list[str]) -> str:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""

"""Environment of a benchmark: the machine, its load before the run, and the version of localrouter."""

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
"""Share of the CPU used by other programs above which a run counts as disturbed."""
_SECONDS = 1.0
QUIET = 0.1
"""Share of the CPU in use below which the next run can begin."""
_MOMENT, _LOOKS = 1.2, 15
"""Seconds before the first check of the load, and the maximum number of checks, a second each."""


@dataclass(frozen=True)
class Environment:
    """Hardware, system and load of a machine; memory in bytes."""

    cpu: str
    cores: int
    """Cores that this process may use."""
    memory: int
    system: str
    python: str
    busy: float
    """Share of all cores that other programs used before the run."""
    gpus: tuple[str, ...] = ()
    """Names of the GPUs that llama.cpp can use."""

    @classmethod
    def this(cls) -> "Environment":
        """Return the environment of this process. Takes a second, to measure the load."""
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
    """Wait until the CPU is idle, at most some seconds: a server may do idle work after its last response."""
    time.sleep(_MOMENT)
    for _ in range(_LOOKS):
        if _busy() < QUIET:
            return


def source() -> str:
    """Return the commit of localrouter where it runs from a checkout, else its version."""
    root = Path(localrouter.__file__).parents[1]
    if (root / ".git").exists() and (root / "pyproject.toml").exists():
        described = _output(["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=8", "--exclude=*"])
        if described:
            return f"commit {described.replace('-dirty', ' with changes')}"
    return f"version {localrouter.__version__}"


def cpu_facts() -> str:
    """Return /proc/cpuinfo; an empty text on other systems than Linux."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""


def _cpu_name() -> str:
    if sys.platform == "darwin":
        return _output(["sysctl", "-n", "machdep.cpu.brand_string"]) or platform.machine()
    names = [line.partition(":")[2].strip() for line in cpu_facts().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _busy() -> float:
    """Return the share of CPU time in use over one second; on other systems than Linux, from the load average."""
    before = _jiffies()
    if before is None:
        return min(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)) if hasattr(os, "getloadavg") else 0.0
    time.sleep(_SECONDS)
    idle, total = (after - first for first, after in zip(before, _jiffies() or before, strict=True))
    return 1 - idle / total if total else 0.0


def _jiffies() -> tuple[int, int] | None:
    """Return the idle and the total time of all cores since boot, from /proc/stat (proc_stat(5)); None without it."""
    try:
        cpu = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]
    except OSError:
        return None
    times = [int(each) for each in cpu]
    return times[3] + times[4], sum(times)


def _output(command: list[str]) -> str:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return ran.stdout.strip() if ran.returncode == 0 else ""

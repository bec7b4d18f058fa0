"""The memory of this machine. No native inference code is loaded for it: other programs and the kernel are asked."""

import importlib.util
import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

IDLE_SHARE = 0.75
"""Share of the RAM that models may have when nothing much else runs: the system and a browser need the rest."""
_METAL_SHARE = 2 / 3  # what Metal recommends as the working set of most Macs
_SECONDS = 10


@dataclass(frozen=True)
class Gpu:
    """One GPU; memory in bytes."""

    name: str
    free: int
    total: int


@dataclass(frozen=True)
class Machine:
    """Memory in bytes: free at the moment, and all there is. `unified`: what a GPU takes is missing from the RAM."""

    ram_free: int
    ram_total: int
    gpus: tuple[Gpu, ...] = ()
    unified: bool = False

    @property
    def gpu_free(self) -> int:
        """Free bytes of all GPUs together."""
        return sum(gpu.free for gpu in self.gpus)

    @property
    def idle(self) -> "Machine":
        """This machine as if nothing much else ran: the same answer whatever is loaded at the moment."""
        gpus = tuple(Gpu(gpu.name, gpu.total, gpu.total) for gpu in self.gpus)
        return Machine(int(self.ram_total * IDLE_SHARE), self.ram_total, gpus, self.unified)


def this_machine() -> Machine:
    """Look at this machine. GPUs count only where llama.cpp was built for them. Takes a moment where there are any."""
    if sys.platform == "darwin":
        return _mac()
    free, total = _linux_memory(Path("/proc/meminfo"), Path("/sys/fs/cgroup"))
    return Machine(free, total, _nvidia() if _built_for("cuda") else ())


def _linux_memory(meminfo: Path, cgroup: Path) -> tuple[int, int]:
    """Bytes free and in total, of the container where there is one."""
    try:
        found = dict(re.findall(r"^(\w+):\s+(\d+) kB", meminfo.read_text(), re.MULTILINE))
    except OSError:
        found = {}
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    total = int(found["MemTotal"]) * 1024 if "MemTotal" in found else pages
    free = int(found["MemAvailable"]) * 1024 if "MemAvailable" in found else total // 2
    limit, used = _bytes_in(cgroup / "memory.max"), _bytes_in(cgroup / "memory.current")
    if limit is not None and limit < total:
        total = limit
        free = min(free, max(0, limit - (used or 0)))
    return free, total


def _bytes_in(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max": no limit
        return None


def _mac() -> Machine:
    """Unified memory. How much of it is free macOS does not tell in one figure: half is a guess that leaves room."""
    total = int(_said(["sysctl", "-n", "hw.memsize"]) or 0)
    gpus: tuple[Gpu, ...] = ()
    if platform.machine() == "arm64" and _built_for("metal"):
        gpus = (Gpu("Apple GPU", int(total // 2 * _METAL_SHARE), int(total * _METAL_SHARE)),)
    return Machine(total // 2, total, gpus, unified=bool(gpus))


def _nvidia() -> tuple[Gpu, ...]:
    query = ["nvidia-smi", "--query-gpu=name,memory.free,memory.total", "--format=csv,noheader,nounits"]
    return parse_nvidia(_said(query))


def parse_nvidia(text: str) -> tuple[Gpu, ...]:
    """The GPUs that nvidia-smi lists, a line each: name, free and total MiB."""
    lines = re.findall(r"^(.+), *(\d+), *(\d+)\s*$", text, re.MULTILINE)
    return tuple(Gpu(name, int(free) << 20, int(total) << 20) for name, free, total in lines)


def _built_for(backend: str) -> bool:
    """Whether the llama.cpp that is installed has this backend. It is looked for and not loaded."""
    found = importlib.util.find_spec("llama_cpp")
    if found is None or found.origin is None:
        return False
    return any(Path(found.origin).parent.glob(f"lib/*ggml-{backend}*"))


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""

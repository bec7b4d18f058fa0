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
    free, total = ram()
    if gpu_shares_ram():
        most = int(total * _METAL_SHARE)
        gpus = (Gpu("Apple GPU", min(free, most), most),) if _built_for("metal") else ()
        return Machine(free, total, gpus, unified=bool(gpus))
    return Machine(free, total, _nvidia() if _built_for("cuda") else ())


def ram() -> tuple[int, int]:
    """Bytes of RAM that programs can still have, and all there is; of the container where there is one."""
    if sys.platform == "darwin":
        total = int(_said(["sysctl", "-n", "hw.memsize"]) or 0)
        return parse_vm_stat(_said(["vm_stat"])) or total // 2, total
    return _linux_memory(Path("/proc/meminfo"), Path("/sys/fs/cgroup"))


def gpu_shares_ram() -> bool:
    """Whether this is a Mac with a chip of Apple's, whose GPU works in the RAM."""
    return sys.platform == "darwin" and platform.machine() == "arm64"


def parse_vm_stat(text: str) -> int | None:
    """Bytes that a Mac can give to programs: pages that are free, or hold what can be read again. None: not told."""
    size = re.search(r"page size of (\d+) bytes", text)
    pages = re.findall(r"^Pages (?:free|inactive|speculative): +(\d+)\.", text, re.MULTILINE)
    return int(size[1]) * sum(map(int, pages)) if size and pages else None


def _linux_memory(meminfo: Path, cgroup: Path) -> tuple[int, int]:
    """Bytes free and in total, of the container where there is one."""
    try:
        found = dict(re.findall(r"^(\w+):\s+(\d+) kB", meminfo.read_text(), re.MULTILINE))
    except OSError:
        found = {}
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    total = int(found["MemTotal"]) * 1024 if "MemTotal" in found else pages
    free = int(found["MemAvailable"]) * 1024 if "MemAvailable" in found else total // 2
    limit = _bytes_in(cgroup / "memory.max")
    if limit is not None and limit < total:
        total = limit
        free = min(free, max(0, limit - _taken(cgroup)))
    return free, total


def _taken(cgroup: Path) -> int:
    """Bytes of a container that stay taken. Pages of files are counted as used too, and go when others are needed."""
    try:
        files = re.findall(r"^(?:in)?active_file (\d+)$", (cgroup / "memory.stat").read_text(), re.MULTILINE)
    except OSError:
        files = []
    return (_bytes_in(cgroup / "memory.current") or 0) - sum(map(int, files))


def _bytes_in(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max": no limit
        return None


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

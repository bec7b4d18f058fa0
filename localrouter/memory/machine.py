"""The memory of this machine. No native inference code is loaded for it: other processes and the kernel are asked."""

import logging
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from localrouter.memory.devices import Device, DeviceKind, DevicesUnknown, ask, is_built_for_gpu, used_by_default

log = logging.getLogger(__name__)

IDLE_SHARE = 0.75
"""Share of the RAM that models may have when nothing much else runs: the system and a browser need the rest."""
_SECONDS = 10


class UnknownDevice(Exception):
    """A device is named that llama.cpp does not have here; the message lists those that there are."""


@dataclass(frozen=True)
class Gpu:
    """One GPU; memory in bytes. `device` is ggml's name of it, `name` what is printed on the card."""

    name: str
    free: int
    total: int
    device: str = ""


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
    def shares(self) -> tuple[float, ...]:
        """The proportion in which GPUs share layers unless the operator chooses one: that of their free memory."""
        return tuple(float(max(gpu.free, 1)) for gpu in self.gpus)

    @property
    def idle(self) -> "Machine":
        """This machine as if nothing much else ran: the same answer whatever is loaded at the moment."""
        gpus = tuple(replace(gpu, free=gpu.total) for gpu in self.gpus)
        return Machine(int(self.ram_total * IDLE_SHARE), self.ram_total, gpus, self.unified)


def this_machine(devices: str | None = None) -> Machine:
    """Look at this machine, and at the GPUs that llama.cpp would use, or those of these names. Raises UnknownDevice.

    Takes a moment where llama.cpp was built for GPUs. Where its devices cannot be listed there are no GPUs, and a
    warning says why.
    """
    if not is_built_for_gpu():
        return with_devices((), devices)
    try:
        return with_devices(ask(), devices)
    except DevicesUnknown as error:
        if devices is not None:
            raise UnknownDevice(f"device {devices!r} cannot be looked for: {error}") from error
        log.warning("no GPU is used: %s", error)
        return with_devices((), None)


def with_devices(devices: Sequence[Device], names: str | None = None) -> Machine:
    """Return this machine with these of ggml's devices: those named, by default those that llama.cpp takes by itself.

    `names` are separated by commas. Raises UnknownDevice.
    """
    chosen = used_by_default(devices) if names is None else _named(devices, names)
    gpus = tuple(Gpu(each.description, each.free, each.total, each.name) for each in chosen)
    integrated = any(each.kind is DeviceKind.INTEGRATED for each in chosen)
    return Machine(*ram(), gpus, unified=bool(gpus) and (integrated or gpu_shares_ram()))


def _named(devices: Sequence[Device], names: str) -> tuple[Device, ...]:
    wanted = [name.strip() for name in names.split(",")]
    usable = {device.name: device for device in devices if device.kind in {DeviceKind.GPU, DeviceKind.INTEGRATED}}
    for name in wanted:
        if name not in usable:
            there = f"there are {', '.join(usable)}" if usable else "llama.cpp has no GPU here"
            raise UnknownDevice(f"device {name!r} is not on this machine; {there}")
        if wanted.count(name) > 1:
            raise UnknownDevice(f"device {name!r} is named twice")
    return tuple(usable[name] for name in wanted)


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


def _said(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""

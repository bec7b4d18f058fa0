"""Memory of this machine, as the kernel and child processes report it; no native inference code is loaded."""

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
"""Share of the RAM that models can have on an idle machine: the system and a browser need the rest."""
_SECONDS = 10


class UnknownDevice(Exception):
    """A named device is not on this machine; the message lists the devices that are."""


@dataclass(frozen=True)
class Gpu:
    """One GPU; memory in bytes. `device` is ggml's name for it, such as CUDA0, and `name` its product name."""

    name: str
    free: int
    total: int
    device: str = ""


@dataclass(frozen=True)
class Machine:
    """Memory of a machine in bytes, free and in total. `unified`: the GPU's memory is part of the RAM."""

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
        """Proportion in which GPUs share layers unless the operator chooses one: that of their free memory."""
        return tuple(float(max(gpu.free, 1)) for gpu in self.gpus)

    @property
    def idle(self) -> "Machine":
        """Copy of this machine with the free memory of an idle one, whatever is loaded at the moment."""
        gpus = tuple(replace(gpu, free=gpu.total) for gpu in self.gpus)
        return Machine(int(self.ram_total * IDLE_SHARE), self.ram_total, gpus, self.unified)


def this_machine(devices: str | None = None) -> Machine:
    """Return this machine with the GPUs named in `devices`; None: those that llama.cpp uses. Raises UnknownDevice.

    It takes up to seconds where llama.cpp was built for GPUs. Where its devices cannot be listed the machine has no
    GPUs, and a warning is logged.
    """
    if not is_built_for_gpu():
        return with_devices((), devices)
    try:
        return with_devices(ask(), devices)
    except DevicesUnknown as error:
        if devices is not None:
            raise UnknownDevice(f"device {devices!r} cannot be looked up: {error}") from error
        log.warning("no GPU is used: %s", error)
        return with_devices((), None)


def with_devices(devices: Sequence[Device], names: str | None = None) -> Machine:
    """Return this machine with the named ones of ggml's devices, by default those that llama.cpp uses.

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
    """Return the available and the total bytes of RAM, of the container where there is one."""
    if sys.platform == "darwin":
        total = int(_output_of(["sysctl", "-n", "hw.memsize"]) or 0)
        return parse_vm_stat(_output_of(["vm_stat"])) or total // 2, total
    return _linux_memory(Path("/proc/meminfo"), Path("/sys/fs/cgroup"))


def gpu_shares_ram() -> bool:
    """Whether this is a Mac with Apple silicon, whose GPU works in the RAM."""
    return sys.platform == "darwin" and platform.machine() == "arm64"


def parse_vm_stat(text: str) -> int | None:
    """Return the available bytes of a Mac, of free pages and of file pages, from `vm_stat`; None: not in the text."""
    size = re.search(r"page size of (\d+) bytes", text)
    pages = re.findall(r"^Pages (?:free|inactive|speculative): +(\d+)\.", text, re.MULTILINE)
    return int(size[1]) * sum(map(int, pages)) if size and pages else None


def _linux_memory(meminfo: Path, cgroup: Path) -> tuple[int, int]:
    """Return the available and the total bytes of RAM, of the container where there is one."""
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
        free = min(free, max(0, limit - _used_by(cgroup)))
    return free, total


def _used_by(cgroup: Path) -> int:
    """Return the bytes in use by a container, without pages of files, which the kernel frees when it needs them."""
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


def _output_of(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""

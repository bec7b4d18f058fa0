"""Devices that llama.cpp can compute on, as its ggml library lists them, with the memory that their drivers report.

A child process (`python -m localrouter.memory.devices`) lists them and prints JSON: a GPU driver may take a second to
start, hold memory, or end the process that loads it.
"""

import ctypes
import importlib.util
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path

log = logging.getLogger(__name__)

GPU_BACKENDS = ("cuda", "metal", "vulkan", "hip", "sycl", "rpc")
"""ggml's names of the backends that compute on a GPU or another machine."""
_PATIENCE = 60
"""Seconds for a query of the devices: a driver may compile its shaders for the first time."""
_PCI_DEVICES = Path("/sys/bus/pci/devices")


class DevicesUnknown(Exception):
    """ggml's devices could not be listed; the message says why."""


class DeviceKind(StrEnum):
    """Kind of a device, in the order of GGML_BACKEND_DEVICE_TYPE of ggml-backend.h."""

    CPU = "cpu"
    GPU = "gpu"
    INTEGRATED = "integrated gpu"
    ACCELERATOR = "accelerator"
    """A device that works beside the CPU, in the RAM: BLAS, AMX."""
    META = "meta"
    """Several devices as one."""


@dataclass(frozen=True)
class Device:
    """One device of ggml. Memory in bytes, as ggml reports it, and as the driver does where it can be queried."""

    name: str
    """ggml's name, by which `--device` selects the device: CUDA0, Vulkan1, MTL0."""
    description: str
    backend: str
    kind: DeviceKind
    free: int
    total: int
    pci: str | None = None
    """Address on the PCI bus, 0000:c1:00.0; None where ggml does not know it."""
    driver_free: int | None = None
    driver_total: int | None = None


def listed(ggml: ctypes.CDLL) -> tuple[Device, ...]:
    """Return the devices of a ggml library that is loaded in this process, in its order."""
    return tuple(_describe(ggml, handle) for handle in handles(ggml))


def handles(ggml: ctypes.CDLL) -> list[int]:
    """Return ggml's pointers to its devices, in its order."""
    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    ggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    return [ggml.ggml_backend_dev_get(index) for index in range(ggml.ggml_backend_dev_count())]


def used_by_default(devices: Iterable[Device]) -> tuple[Device, ...]:
    """Return the devices that llama.cpp offloads to when none is named.

    These are all GPUs with their own memory, each once where several backends list it; without any, the first GPU that
    shares the RAM (llama_prepare_model_devices of llama.cpp).
    """
    own, integrated, seen = [], [], set()
    for device in devices:
        if device.kind is DeviceKind.INTEGRATED:
            integrated.append(device)
        elif device.kind is DeviceKind.GPU and (device.pci is None or device.pci not in seen):
            own.append(device)
            seen.add(device.pci)
    return tuple(own or integrated[:1])


def is_built_for_gpu() -> bool:
    """Whether the installed llama.cpp has a backend other than the CPU's, by the names of its libraries."""
    folder = library_folder()
    return folder is not None and any(any(folder.glob(f"*ggml-{backend}*")) for backend in GPU_BACKENDS)


def library_folder() -> Path | None:
    """Return the folder with the libraries of llama.cpp; None where llama-cpp-python is not installed."""
    found = importlib.util.find_spec("llama_cpp")
    return None if found is None or found.origin is None else Path(found.origin).parent / "lib"


def ask() -> tuple[Device, ...]:
    """Return ggml's devices with the memory that drivers report, listed by a child process. Raises DevicesUnknown."""
    command = [sys.executable, "-m", "localrouter.memory.devices"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)  # noqa: S603 - our own module
    except subprocess.TimeoutExpired:
        raise DevicesUnknown(f"llama.cpp did not list its devices within {_PATIENCE} s") from None
    if done.returncode:
        words = done.stderr.strip().splitlines()[-1:] or ["it gave no reason"]
        raise DevicesUnknown(f"llama.cpp could not list its devices ({_ending(done.returncode)}): {words[0]}")
    devices = (Device(**entry | {"kind": DeviceKind(entry["kind"])}) for entry in json.loads(done.stdout))
    return with_driver_memory(devices, _nvidia_memory(), _PCI_DEVICES)


def with_driver_memory(
    devices: Iterable[Device], nvidia: dict[str, tuple[int, int]], pci_devices: Path
) -> tuple[Device, ...]:
    """Return the devices with the memory that drivers report for their PCI addresses.

    `nvidia` has free and total bytes by PCI address; amdgpu's files are read from the folder `pci_devices` of sysfs.
    """

    def memory_of(address: str | None) -> tuple[int | None, int | None]:
        if address is None:
            return None, None
        return nvidia.get(address) or _amd_memory(pci_devices / address) or (None, None)

    reported = ((device, *memory_of(device.pci)) for device in devices)
    return tuple(replace(device, driver_free=free, driver_total=total) for device, free, total in reported)


def parse_nvidia(text: str) -> dict[str, tuple[int, int]]:
    """Return free and total bytes by PCI address, from lines of nvidia-smi: address, free and total MiB."""
    lines = re.findall(r"^[0-9A-Fa-f]*([0-9A-Fa-f]{4}:[0-9A-Fa-f:.]+), *(\d+), *(\d+)\s*$", text, re.MULTILINE)
    return {address.lower(): (int(free) << 20, int(total) << 20) for address, free, total in lines}


def _nvidia_memory() -> dict[str, tuple[int, int]]:
    query = ["nvidia-smi", "--query-gpu=pci.bus_id,memory.free,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=_PATIENCE, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return parse_nvidia(done.stdout) if done.returncode == 0 else {}


def _amd_memory(device: Path) -> tuple[int, int] | None:
    try:
        used, total = (int((device / f"mem_info_vram_{name}").read_text()) for name in ("used", "total"))
    except (OSError, ValueError):
        return None
    return total - used, total


def _describe(ggml: ctypes.CDLL, handle: int) -> Device:
    props = _Props()
    ggml.ggml_backend_dev_get_props.argtypes = [ctypes.c_void_p, ctypes.POINTER(_Props)]
    ggml.ggml_backend_dev_get_props(handle, ctypes.byref(props))
    ggml.ggml_backend_dev_backend_reg.restype = ctypes.c_void_p
    ggml.ggml_backend_dev_backend_reg.argtypes = [ctypes.c_void_p]
    ggml.ggml_backend_reg_name.restype = ctypes.c_char_p
    ggml.ggml_backend_reg_name.argtypes = [ctypes.c_void_p]
    backend = ggml.ggml_backend_reg_name(ggml.ggml_backend_dev_backend_reg(handle))
    name = _text(props.name)
    return Device(
        name=name,
        description=_text(props.description) or name,
        backend=_text(backend),
        kind=list(DeviceKind)[props.type],
        free=props.memory_free,
        total=props.memory_total,
        pci=_text(props.device_id) or None,
    )


class _Props(ctypes.Structure):
    """`ggml_backend_dev_props` of ggml-backend.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("memory_free", ctypes.c_size_t),
        ("memory_total", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("device_id", ctypes.c_char_p),
        ("caps", ctypes.c_bool * 8),  # larger than in this version, for fields of later ones
    )


def _text(value: bytes | None) -> str:
    return (value or b"").decode(errors="replace").strip()


def _ending(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def open_library(folder: Path) -> ctypes.CDLL:
    """Load ggml with its backends into this process, and return it. Raises OSError without the library."""
    names: Sequence[Path] = sorted(folder.glob("libggml.*")) + sorted(folder.glob("ggml.dll"))
    if not names:
        raise OSError(f"no ggml library in {folder}")
    ggml = ctypes.CDLL(str(names[0]))
    if ggml.ggml_backend_reg_count() == 0:  # a portable build has its backends in separate libraries
        ggml.ggml_backend_load_all_from_path(os.fsencode(folder))
    return ggml


def main() -> None:
    """Print the devices as JSON, and exit without the destructors of drivers."""
    folder = library_folder()
    devices = listed(open_library(folder)) if folder else ()
    print(json.dumps([asdict(device) for device in devices]), flush=True)  # noqa: T201 - its output
    os._exit(0)


if __name__ == "__main__":
    main()

"""The memory that llama.cpp can compute in: GPUs, asked of its ggml library, and the RAM."""

import ctypes
from typing import Any

from localrouter.memory.machine import Gpu, Machine, gpu_shares_ram, ram

_GPU, _INTEGRATED = 1, 2  # GGML_BACKEND_DEVICE_TYPE_GPU and _IGPU in ggml-backend.h


def machine(ggml: ctypes.CDLL) -> Machine:
    """Return this machine as this build of the library sees it; without GPUs when it was built for the CPU.

    GPUs that work in the RAM count where there are no others, as in llama.cpp.
    """
    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    ggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    ggml.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    devices = [ggml.ggml_backend_dev_get(index) for index in range(ggml.ggml_backend_dev_count())]
    own, integrated = (
        [device for device in devices if ggml.ggml_backend_dev_type(device) == kind] for kind in (_GPU, _INTEGRATED)
    )
    gpus = tuple(_describe(ggml, device) for device in own or integrated)
    return Machine(*ram(), gpus, unified=bool(gpus) and (not own or gpu_shares_ram()))


def _describe(ggml: ctypes.CDLL, device: int) -> Gpu:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    ggml.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    ggml.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
    name = _text(ggml.ggml_backend_dev_description, device) or _text(ggml.ggml_backend_dev_name, device)
    return Gpu(name, free.value, total.value)


def _text(function: Any, device: int) -> str:
    function.restype = ctypes.c_char_p
    function.argtypes = [ctypes.c_void_p]
    return str((function(device) or b"").decode(errors="replace"))

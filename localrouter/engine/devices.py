"""The GPUs that llama.cpp can compute on, asked of its ggml library."""

import ctypes
from dataclasses import dataclass
from typing import Any

_GPU_TYPES = (1, 2)  # GGML_BACKEND_DEVICE_TYPE_GPU and _IGPU in ggml-backend.h


@dataclass(frozen=True)
class Gpu:
    """One GPU; memory in bytes."""

    name: str
    description: str
    free: int
    total: int


def gpus(ggml: ctypes.CDLL) -> list[Gpu]:
    """Return the GPUs that this build of the library sees; none when it was built for the CPU."""
    ggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    ggml.ggml_backend_dev_get.restype = ctypes.c_void_p
    ggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    ggml.ggml_backend_dev_type.argtypes = [ctypes.c_void_p]
    devices = [ggml.ggml_backend_dev_get(index) for index in range(ggml.ggml_backend_dev_count())]
    return [_describe(ggml, device) for device in devices if ggml.ggml_backend_dev_type(device) in _GPU_TYPES]


def _describe(ggml: ctypes.CDLL, device: int) -> Gpu:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    ggml.ggml_backend_dev_memory.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
    ggml.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
    return Gpu(
        name=_text(ggml.ggml_backend_dev_name, device),
        description=_text(ggml.ggml_backend_dev_description, device),
        free=free.value,
        total=total.value,
    )


def _text(function: Any, device: int) -> str:
    function.restype = ctypes.c_char_p
    function.argtypes = [ctypes.c_void_p]
    return str((function(device) or b"").decode(errors="replace"))

"""A model as llama.cpp loads it from a GGUF file, and the facts about it that llama.cpp and the file's header hold."""

import ctypes
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as api

from localrouter.engine.backends.base import LoadError
from localrouter.engine.backends.llama import library
from localrouter.engine.backends.llama.amx_probe import amx_works
from localrouter.engine.backends.llama.library import has_amx, native_log
from localrouter.gguf.header import GgufError, read_headers
from localrouter.gguf.parts import parts
from localrouter.memory.machine import Gpu
from localrouter.memory.plan import FEW_IDLE_SLOTS, FEW_SEQUENCES, Plan
from localrouter.memory.shape import Shape, shape_of_headers, shape_of_size

log = logging.getLogger(__name__)


def open_model(
    path: Path,
    *,
    gpus: Sequence[Gpu] = (),
    shares: Sequence[float] = (),
    gpu_layers: int = 0,
    extra_buffers: bool = False,
    vocabulary_only: bool = False,
) -> Any:
    """Return llama.cpp's model of a GGUF file, or of the first part of a split one. Raises LoadError.

    Without layers on a GPU no device is passed: llama.cpp would compute long prompts there, in memory outside the plan.
    """
    params = api.llama_model_default_params()
    used = library.device_handles([gpu.device for gpu in gpus] if gpu_layers else [])
    params.devices = ctypes.cast(used, ctypes.c_void_p)
    proportion = (ctypes.c_float * api.LLAMA_MAX_DEVICES)(*(shares if gpu_layers else ()))
    params.tensor_split = proportion
    params.n_gpu_layers = gpu_layers
    params.vocab_only = vocabulary_only
    params.use_extra_bufts = extra_buffers
    model = api.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        raise LoadError(f"llama.cpp could not load this file: {native_log.reason(path)}")
    return model


def shape_of_file(path: Path) -> Shape:
    """Return the shape that the headers of a model describe. Raises LoadError.

    For a file that this package cannot read and llama.cpp can, the shape has its size and its trained context only.
    """
    try:
        shape = shape_of_headers(read_headers(path))
    except GgufError as error:
        log.warning("memory of %s is planned from the file's size alone: %s", path.name, error.message)
        shape = shape_of_size(_size(path))
    if shape.trained is None:
        model = open_model(path, vocabulary_only=True)
        trained = _metadata(model, f"{architecture_of(model)}.context_length")
        shape = replace(shape, trained=int(trained) if trained.isdecimal() else None)
        api.llama_model_free(model)
    return shape


def as_loaded(plan: Plan, model: Any) -> Plan:
    """Return the plan corrected for recurrent layers that llama.cpp knows of and the shape does not."""
    if not is_recurrent(model):
        return plan
    few = min(plan.params.sequences, FEW_SEQUENCES)
    idle = min(plan.params.idle, FEW_IDLE_SLOTS)
    return replace(plan, params=replace(plan.params, sequences=few, idle=idle, swa_full=True))


def kernels_fit(path: Path, shape: Shape) -> bool:
    """Whether the kernels that need repacked weights compute this model correctly.

    AMX kernels fail for recurrent layers, whose values are wrong in batches of several sequences (seen with llama.cpp
    0c1e570 on qwen35moe). For other models they are probed first: compiled by GCC without `scripts/llama.cmake` they
    end the process at the first prompt (llama.cpp issue 20824).
    """
    if not has_amx():
        return True
    if shape.recurrent:
        return False
    model = open_model(path, vocabulary_only=True)  # llama.cpp knows architectures that the shape does not
    recurrent = is_recurrent(model)
    api.llama_model_free(model)
    return not recurrent and amx_works()


def is_recurrent(model: Any) -> bool:
    """Whether some layers of the model keep a recurrent state for each sequence."""
    return bool(api.llama_model_is_recurrent(model) or api.llama_model_is_hybrid(model))


def architecture_of(model: Any) -> str:
    """Return llama.cpp's name of the model's architecture, such as qwen35moe."""
    return _metadata(model, "general.architecture") or "unknown"


def _metadata(model: Any, key: str) -> str:
    value = ctypes.create_string_buffer(256)
    length = api.llama_model_meta_val_str(model, key.encode(), value, len(value))
    return value.value.decode(errors="replace") if length >= 0 else ""


def _size(path: Path) -> int:
    files = [path.with_name(part) for part in parts(path.name)]
    return sum(file.stat().st_size for file in files if file.is_file())

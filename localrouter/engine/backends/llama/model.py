"""The model of a file: what its header says of the memory it takes, and its weights as llama.cpp loads them."""

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
from localrouter.engine.messages import LoadOptions
from localrouter.gguf.header import GgufError, read_headers
from localrouter.gguf.parts import parts
from localrouter.memory.devices import listed
from localrouter.memory.machine import Gpu, Machine, UnknownDevice, with_devices
from localrouter.memory.plan import FEW_IDLE_SLOTS, FEW_SEQUENCES, Plan
from localrouter.memory.pool import DoesNotFit, Pool, Wishes, pool_for
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

    Without layers on a GPU no GPU is used at all: llama.cpp would compute long prompts there, in memory that is not in
    the plan.
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

    What llama.cpp can load and our reader does not understand is known by its size, and by what llama.cpp says of it.
    """
    try:
        shape = shape_of_headers(read_headers(path))
    except GgufError as error:
        log.warning("the memory is reckoned from the size of the file alone: %s", error.message)
        shape = shape_of_size(_size(path))
    if shape.trained is None:
        model = open_model(path, vocabulary_only=True)
        trained = _metadata(model, f"{architecture_of(model)}.context_length")
        shape = replace(shape, trained=int(trained) if trained.isdecimal() else None)
        api.llama_model_free(model)
    return shape


def machine_of(options: LoadOptions) -> Machine:
    """This machine, with the GPUs that are to be used. Raises LoadError where one is named that is not there."""
    try:
        return with_devices(listed(library.ggml), options.device)
    except UnknownDevice as error:
        raise LoadError(f"{error}. `localrouter devices` lists what can be named.") from error


def pool_of(path: Path, shape: Shape, options: LoadOptions, machine: Machine) -> Pool:
    """What the model is loaded with. Raises LoadError where it does not fit, or a GPU is required and not there."""
    if options.require_gpu and not machine.gpus:
        built_for_it = api.llama_supports_gpu_offload()
        why = "none was found." if built_for_it else "llama.cpp was built for the CPU: reinstall with BACKEND=..."
        raise LoadError(f"require_gpu is set, and no GPU can be used: {why}")
    if options.tensor_split and len(options.tensor_split) != len(machine.gpus):
        names = ", ".join(gpu.device for gpu in machine.gpus) or "none"
        raise LoadError(
            f"tensor_split has {len(options.tensor_split)} shares, and {len(machine.gpus)} GPUs are used: {names}."
        )
    if options.kv_type != "f16" and options.flash_attention == "off":
        raise LoadError(f"kv_type {options.kv_type} needs flash attention, and flash_attention is off.")
    try:
        pool = pool_for(shape, _wishes(options), machine)
    except DoesNotFit as error:
        raise LoadError(f"Not enough memory for {path.stem}: {error}") from error
    if options.require_gpu and not pool.gpu_layers:
        raise LoadError("require_gpu is set, and not one layer of this model fits onto the GPU.")
    return pool


def _wishes(options: LoadOptions) -> Wishes:
    return Wishes(
        context=options.context,
        cells=options.cells,
        sequences=options.max_sequences,
        gpu_layers=options.gpu_layers,
        mapped=options.extra_buffers == "off",
        kv=options.kv_type,
        flash_attention=options.flash_attention != "off",
        swa_full=options.swa_full,
        ubatch=options.ubatch,
        tensor_split=options.tensor_split,
    )


def as_loaded(plan: Plan, model: Any) -> Plan:
    """The plan, where llama.cpp knows of recurrent layers that the shape does not have."""
    if not is_recurrent(model):
        return plan
    few = min(plan.options.sequences, FEW_SEQUENCES)
    idle = min(plan.options.idle, FEW_IDLE_SLOTS)
    return replace(plan, options=replace(plan.options, sequences=few, idle=idle, swa_full=True))


def kernels_fit(path: Path, shape: Shape) -> bool:
    """Whether the kernels for which weights would be laid out anew are right for this model.

    AMX kernels are not for recurrent layers: with several sequences in a batch these compute nonsense (seen with
    llama.cpp 0c1e570 on qwen35moe). And they are tried first, for compiled by GCC without `scripts/llama.cmake`
    they end the process at the first prompt (llama.cpp issue 20824).
    """
    if not has_amx():
        return True
    if shape.recurrent:
        return False
    model = open_model(path, vocabulary_only=True)  # which also knows of architectures that the shape does not
    recurrent = is_recurrent(model)
    api.llama_model_free(model)
    return not recurrent and amx_works()


def is_recurrent(model: Any) -> bool:
    """Whether some layers keep a state for each sequence."""
    return bool(api.llama_model_is_recurrent(model) or api.llama_model_is_hybrid(model))


def architecture_of(model: Any) -> str:
    """Return llama.cpp's name of the architecture."""
    return _metadata(model, "general.architecture") or "unknown"


def _metadata(model: Any, key: str) -> str:
    value = ctypes.create_string_buffer(256)
    length = api.llama_model_meta_val_str(model, key.encode(), value, len(value))
    return value.value.decode(errors="replace") if length >= 0 else ""


def _size(path: Path) -> int:
    files = [path.with_name(part) for part in parts(path.name)]
    return sum(file.stat().st_size for file in files if file.is_file())

"""Plan of a load: the devices, the options with fallbacks, and the sizes with which a GGUF file is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localrouter.engine.backends.base import LoadError
from localrouter.engine.backends.llama import library
from localrouter.engine.backends.llama.model import kernels_fit, open_model, shape_of_file
from localrouter.engine.fallbacks import Fallback, applicable, with_fallbacks
from localrouter.engine.model_info import ComputeDevice
from localrouter.load_options import LoadOptions
from localrouter.memory.devices import is_built_for_gpu, listed
from localrouter.memory.machine import Machine, UnknownDevice, with_devices
from localrouter.memory.pool import DoesNotFit, Pool, pool_for
from localrouter.memory.shape import Shape


@dataclass(frozen=True)
class LoadPlan:
    """Plan for loading one file on this machine."""

    machine: Machine
    """This machine with the GPUs that are used."""
    options: LoadOptions
    """Options asked for, with the fallbacks that apply."""
    fallbacks: tuple[Fallback, ...]
    """Fallbacks that apply on these devices."""
    shape: Shape
    pool: Pool

    @property
    def device_ids(self) -> str:
        """ggml's names of the GPUs, separated by commas; empty without a GPU."""
        return _ids(self.machine)

    def device(self, layers: int) -> ComputeDevice:
        """Return the device that a model of so many layers, the output layer included, runs on."""
        offloaded = self.pool.gpu_layers
        if not offloaded:
            return ComputeDevice("CPU", 0, layers)
        names = ", ".join(gpu.name for gpu in self.machine.gpus)
        return ComputeDevice(names, min(offloaded, layers), layers, self.device_ids)


def plan_load(path: Path, options: LoadOptions, fallbacks: Sequence[Fallback]) -> LoadPlan:
    """Return the plan for a GGUF file. Raises LoadError where memory is short, or an option cannot be used here."""
    machine = machine_of(options)
    applied = applicable(options, fallbacks, _ids(machine))
    options = with_fallbacks(options, applied, _ids(machine))
    _check(options, machine)
    shape = shape_of_file(path)
    try:
        pool = pool_for(shape, options, machine)
    except DoesNotFit as error:
        raise LoadError(f"Not enough memory for {path.stem}: {error}") from error
    if options.require_gpu and not pool.gpu_layers:
        raise LoadError("require_gpu is set, and not one layer of this model fits onto the GPU.")
    return LoadPlan(machine, options, applied, shape, pool)


def open_planned(path: Path, planned: LoadPlan) -> Any:
    """Return llama.cpp's model of the file, loaded as planned. Raises LoadError."""
    repack = planned.options.extra_buffers
    return open_model(
        path,
        gpus=planned.machine.gpus,
        shares=planned.pool.plan.params.shares,
        gpu_layers=planned.pool.gpu_layers,
        extra_buffers=repack == "on" or (repack == "auto" and kernels_fit(path, planned.shape)),
    )


def machine_of(options: LoadOptions) -> Machine:
    """Return this machine with the GPUs that the options choose. Raises LoadError where one of them is not there."""
    try:
        return with_devices(listed(library.ggml), options.device)
    except UnknownDevice as error:
        raise LoadError(f"{error}. `localrouter devices` lists what can be named.") from error


def _check(options: LoadOptions, machine: Machine) -> None:
    """Raise LoadError for options that cannot be used on this machine."""
    if options.require_gpu and not machine.gpus:
        # llama_supports_gpu_offload says no as well when a GPU build finds no device, as CUDA without a driver.
        why = "none was found." if is_built_for_gpu() else "llama.cpp was built for the CPU: reinstall with BACKEND=..."
        raise LoadError(f"require_gpu is set, and no GPU can be used: {why}")
    if options.tensor_split and len(options.tensor_split) != len(machine.gpus):
        names = ", ".join(gpu.device for gpu in machine.gpus) or "none"
        raise LoadError(
            f"tensor_split has {len(options.tensor_split)} shares, and {len(machine.gpus)} GPUs are used: {names}."
        )
    if options.needs_flash_attention and options.flash_attention == "off":
        raise LoadError(f"kv_type {options.kv_type} needs flash attention, and flash_attention is off.")


def _ids(machine: Machine) -> str:
    return ",".join(gpu.device for gpu in machine.gpus)

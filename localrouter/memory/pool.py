"""Sizes that a model is loaded with: the length of its context, its KV cells, its layers on GPUs. Pure."""

from dataclasses import dataclass

from msgspec.structs import replace

from localrouter.load_options import LoadOptions
from localrouter.memory.fit import (
    SHARE,
    Place,
    in_gigabytes,
    largest,
    most_on_gpu,
    name_of,
    ram_needed,
    settle_swa,
    with_layers,
)
from localrouter.memory.machine import Machine
from localrouter.memory.plan import Plan, context_params
from localrouter.memory.shape import Shape

POOL = 32_768
"""KV cells where neither the operator nor the memory limits them: 32 conversations of 1,024 tokens."""
FEWEST_CELLS = 512
"""Fewest KV cells that a cache of automatic size has."""
CACHE_SHARE = 0.25
"""Share of the memory beside the weights that a cache of automatic size may take."""
ALL_LAYERS = 65_535
"""`n_gpu_layers` to offload all layers: more than any model has."""


@dataclass(frozen=True)
class Pool:
    """Sizes that a model is loaded with. `context` is in tokens, and never more than the plan's cells."""

    context: int
    gpu_layers: int
    """`n_gpu_layers` of llama.cpp: layers from the last one down, the output layer counted as one, or ALL_LAYERS."""
    plan: Plan


class DoesNotFit(Exception):
    """The model needs more memory than there is. The message names both amounts and says what to do."""


def pool_for(shape: Shape, options: LoadOptions, machine: Machine) -> Pool:
    """Return the sizes that a model is loaded with. Raises DoesNotFit.

    Numbers in the options are taken as they are. Every model that `fit` finds a place for is loaded, in this place.
    Where the options set neither `cells` nor `context`, there are `POOL` cells or as many as `CACHE_SHARE` of the
    memory beside the weights holds; fewer, but not under `FEWEST_CELLS`, where the whole plan would not fit, or would
    not fit onto the GPUs any more. The context is then what the model was trained for. `swa_full` "auto" is decided
    for the size that the options set, or for `FEWEST_CELLS`.
    """
    fewest = options.cells or options.context or FEWEST_CELLS
    least = settle_swa(
        options.swa_full,
        lambda full: _placed(shape, replace(options, swa_full="on" if full else "off"), machine, fewest),
        lambda placed: _fits(placed, options, machine),
    )
    if not _fits(least, options, machine):
        raise DoesNotFit(_refusal(least, options, machine))
    options, where = replace(options, swa_full="on" if least.params.swa_full else "off"), name_of(least)

    def fits(cells: int) -> bool:
        placed = _placed(shape, options, machine, cells)
        return _fits(placed, options, machine) and (where is not Place.GPU or name_of(placed) is where)

    most = fewest if options.cells else max(fewest, _affordable(shape, options, machine, least))
    placed = _placed(shape, options, machine, max(fewest, largest(most, fits)))
    cells = placed.params.cells
    everything = name_of(placed) is Place.GPU and not isinstance(options.gpu_layers, int)
    layers = ALL_LAYERS if everything else placed.params.gpu_layers
    return Pool(min(options.context or shape.trained or POOL, cells), layers, placed)


def sizes_without_weights(options: LoadOptions) -> tuple[int, int]:
    """Return the context and the KV cells of the backend without weights, which fits into any memory."""
    context = options.context or 8192
    cells = options.cells or 8 * context
    return min(context, cells), cells


def _placed(shape: Shape, options: LoadOptions, machine: Machine, cells: int) -> Plan:
    """Return the plan with `cells` KV cells. A number of layers in the options is not checked against GPU memory."""
    params = context_params(options, cells)
    if options.gpu_layers == "auto":
        return most_on_gpu(shape, params, machine)
    layers = ALL_LAYERS if options.gpu_layers == "all" else options.gpu_layers
    return with_layers(shape, params, layers if machine.gpus else 0, machine)


def _is_mapped(options: LoadOptions) -> bool:
    """Whether weights in RAM stay memory-mapped in their file, and so need not fit."""
    return options.extra_buffers == "off"


def _fits(placed: Plan, options: LoadOptions, machine: Machine) -> bool:
    mapped = placed.ram.weights if _is_mapped(options) else 0
    return ram_needed(placed, machine) - mapped <= SHARE * machine.ram_free


def _affordable(shape: Shape, options: LoadOptions, machine: Machine, least: Plan) -> int:
    """Return the KV cells that `CACHE_SHARE` of the memory beside the weights holds, at most `POOL`."""
    if name_of(least) is Place.GPU:
        beside = machine.gpu_free - least.gpu.weights
    else:
        gpus = 0 if machine.unified else machine.gpu_free
        beside = machine.ram_free + gpus - least.both.weights
    return largest(POOL, lambda cells: _placed(shape, options, machine, cells).both.cache <= CACHE_SHARE * beside)


def _refusal(least: Plan, options: LoadOptions, machine: Machine) -> str:
    cells, on_gpu = least.params.cells, least.gpu.total
    needed, room = ram_needed(least, machine), SHARE * machine.ram_free
    beside = f" beside {in_gigabytes(on_gpu)} on the GPU" if on_gpu and not machine.unified else ""
    smaller = "a smaller build, or a smaller context" if options.cells or options.context else "a smaller build"
    message = (
        f"with a cache of {cells:,} tokens it needs {in_gigabytes(needed)} of RAM{beside}, and {in_gigabytes(room)} "
        f"can be had, {SHARE:.0%} of what is free. Take {smaller}, or free some memory."
    )
    if not _is_mapped(options) and needed - least.ram.weights <= room:
        message += " With extra_buffers=off the weights stay in their file and need not fit, which is slow."
    return message

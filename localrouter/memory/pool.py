"""What a model is loaded with: the length of its context, the cells of its cache, its layers on GPUs. Pure."""

from dataclasses import dataclass, replace
from typing import Literal

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
from localrouter.memory.plan import SEQUENCES, UBATCH, KvType, Options, Plan, Switch
from localrouter.memory.shape import Shape

POOL = 32_768
"""Cells that are enough when nobody asks for more: 32 conversations of 1,024 tokens."""
FEWEST_CELLS = 512
"""Cells under which a cache is of no use."""
CACHE_SHARE = 0.25
"""Share of the memory beside the weights that the cache may take when nobody says how large it should be."""
ALL_LAYERS = 65_535
"""More layers than any model has."""


@dataclass(frozen=True)
class Wishes:
    """What an operator asks for, which is taken as it is; None and "auto" leave it to the memory that there is."""

    context: int | None = None
    """Tokens of the longest conversation."""
    cells: int | None = None
    """Positions of the cache, which all conversations share."""
    sequences: int = SEQUENCES
    gpu_layers: int | Literal["auto", "all"] = "auto"
    mapped: bool = False
    """Weights in RAM stay in their file, mapped: they are read as they are needed, and need not fit."""
    kv: KvType = "f16"
    flash_attention: bool = True
    swa_full: Switch = "auto"
    ubatch: int = UBATCH
    tensor_split: tuple[float, ...] | None = None
    """In which proportion GPUs share layers, a number for each; None: in that of their free memory."""


@dataclass(frozen=True)
class Pool:
    """What a model is loaded with. `context` is in tokens, and never more than the plan's cells."""

    context: int
    gpu_layers: int
    """What llama.cpp is told: layers from the last one down, the output layer counted as one, or ALL_LAYERS."""
    plan: Plan


class DoesNotFit(Exception):
    """There is not enough memory. The message says how much is needed, how much there is, and what to do."""


def pool_for(shape: Shape, wishes: Wishes, machine: Machine) -> Pool:
    """Decide what a model is loaded with. Raises DoesNotFit.

    Whatever `fit` finds a place for is loaded, in this place. Where nobody asks for a size, the pool has `POOL` cells
    or what `CACHE_SHARE` of the memory beside the weights holds; fewer, but not under `FEWEST_CELLS`, where the whole
    plan would not fit, or not onto the GPUs any more. The context is then what the model was trained for. Whether
    sliding layers hold all cells is settled for the size that is asked for, or for `FEWEST_CELLS`.
    """
    fewest = wishes.cells or wishes.context or FEWEST_CELLS
    least = settle_swa(
        wishes.swa_full,
        lambda full: _placed(shape, replace(wishes, swa_full="on" if full else "off"), machine, fewest),
        lambda placed: _fits(placed, wishes, machine),
    )
    if not _fits(least, wishes, machine):
        raise DoesNotFit(_refusal(least, wishes, machine))
    wishes, where = replace(wishes, swa_full="on" if least.options.swa_full else "off"), name_of(least)

    def fits(cells: int) -> bool:
        placed = _placed(shape, wishes, machine, cells)
        return _fits(placed, wishes, machine) and (where is not Place.GPU or name_of(placed) is where)

    most = fewest if wishes.cells else max(fewest, _affordable(shape, wishes, machine, least))
    placed = _placed(shape, wishes, machine, max(fewest, largest(most, fits)))
    cells = placed.options.cells
    everything = name_of(placed) is Place.GPU and not isinstance(wishes.gpu_layers, int)
    layers = ALL_LAYERS if everything else placed.options.gpu_layers
    return Pool(min(wishes.context or shape.trained or POOL, cells), layers, placed)


def _placed(shape: Shape, wishes: Wishes, machine: Machine, cells: int) -> Plan:
    """The plan with so many cells. Layers that are asked for are not held against the memory of the GPUs."""
    options = Options(
        cells=cells,
        sequences=wishes.sequences,
        kv=wishes.kv,
        swa_full=wishes.swa_full == "on",
        flash_attention=wishes.flash_attention,
        ubatch=wishes.ubatch,
        shares=wishes.tensor_split or (),
    )
    if wishes.gpu_layers == "auto":
        return most_on_gpu(shape, options, machine)
    layers = ALL_LAYERS if wishes.gpu_layers == "all" else wishes.gpu_layers
    return with_layers(shape, options, layers if machine.gpus else 0, machine)


def _fits(placed: Plan, wishes: Wishes, machine: Machine) -> bool:
    mapped = placed.ram.weights if wishes.mapped else 0
    return ram_needed(placed, machine) - mapped <= SHARE * machine.ram_free


def _affordable(shape: Shape, wishes: Wishes, machine: Machine, least: Plan) -> int:
    """Cells that `CACHE_SHARE` of the memory beside the weights holds, `POOL` at most."""
    if name_of(least) is Place.GPU:
        beside = machine.gpu_free - least.gpu.weights
    else:
        gpus = 0 if machine.unified else machine.gpu_free
        beside = machine.ram_free + gpus - least.both.weights
    return largest(POOL, lambda cells: _placed(shape, wishes, machine, cells).both.cache <= CACHE_SHARE * beside)


def _refusal(least: Plan, wishes: Wishes, machine: Machine) -> str:
    cells, on_gpu = least.options.cells, least.gpu.total
    needed, room = ram_needed(least, machine), SHARE * machine.ram_free
    beside = f" beside {in_gigabytes(on_gpu)} on the GPU" if on_gpu and not machine.unified else ""
    smaller = "a smaller build, or a smaller context" if wishes.cells or wishes.context else "a smaller build"
    message = (
        f"with a cache of {cells:,} tokens it needs {in_gigabytes(needed)} of RAM{beside}, and {in_gigabytes(room)} "
        f"can be had, {SHARE:.0%} of what is free. Take {smaller}, or free some memory."
    )
    if not wishes.mapped and needed - least.ram.weights <= room:
        message += " With extra_buffers=off the weights stay in their file and need not fit, which is slow."
    return message

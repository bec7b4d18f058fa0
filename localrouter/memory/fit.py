"""Placement of a model on a machine: whether it fits, its layers on GPUs, and the choice among builds. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from localrouter.load_options import Switch
from localrouter.memory.machine import Machine
from localrouter.memory.plan import ROWS_ON_GPU, ContextParams, Memory, Plan, plan
from localrouter.memory.shape import Shape

SHARE = 0.9
"""Share of free memory that a plan may fill; the rest is a reserve for allocations outside of the plan."""
USEFUL_CELLS = 8192
"""KV cells with which a build must fit to be chosen, where no context is set."""
LONGEST_CELLS = 262_144
"""Largest context that is tried, in tokens, where the trained context of a model is unknown."""
_STEP = 256


class Place(StrEnum):
    """Memory that a model's layers are in."""

    GPU = "gpu"
    """All layers are on GPUs."""
    BOTH = "gpu+ram"
    """Some layers are on GPUs, the others on the CPU."""
    RAM = "ram"
    NOWHERE = "nowhere"
    """The model does not fit."""


@dataclass(frozen=True)
class Fit:
    """Placement of a model on a machine. Where it does not fit, the plan is for the CPU."""

    plan: Plan
    place: Place
    longest: int
    """Longest context that fits, in tokens of each parallel conversation; 0: none."""

    @property
    def layers_on_gpu(self) -> int:
        """Number of layers on GPUs, the output layer counted as one."""
        return self.plan.params.gpu_layers


@dataclass(frozen=True)
class FitChoice:
    """Choice among several builds, as an index, and its reason."""

    index: int
    reason: str
    fits: bool = True


def fit(shape: Shape, params: ContextParams, machine: Machine, *, parallel: int = 1, swa_full: Switch = "auto") -> Fit:
    """Return the placement of a model: as many layers on the GPUs as fit, the rest in RAM.

    `gpu_layers` and `swa_full` of the parameters are ignored. `parallel` conversations share the cells; the longest
    context is that of each of them, limited to what the model was trained for.
    """
    placed = place(shape, params, machine, swa_full)
    most = shape.trained or max(LONGEST_CELLS, params.cells)
    longest = largest(
        most, lambda tokens: place(shape, replace(params, cells=tokens * parallel), machine, swa_full) is not None
    )
    if not shape.complete:
        longest = 0
    if placed is None:
        on_cpu = replace(params, gpu_layers=0)
        least = settle_swa(swa_full, lambda full: plan(shape, replace(on_cpu, swa_full=full)), lambda _: False)
        return Fit(least, Place.NOWHERE, longest)
    return Fit(placed, name_of(placed), longest)


def choose(
    shapes: Sequence[Shape], machine: Machine, cells: int = USEFUL_CELLS, *, among: str = "on disk"
) -> FitChoice:
    """Return the largest build that fits, of equal ones the first; where none fits, the smallest.

    Builds that fit onto the GPUs as a whole are preferred to larger ones that do not: they are many times faster. A
    build of unknown size counts as too large. `among` completes the reason "the largest of 3 ...".
    """
    places = [place_of(shape, machine, cells) if shape.weights else Place.NOWHERE for shape in shapes]
    count = f"of {len(shapes)} {among}"
    for wanted in ({Place.GPU}, {Place.GPU, Place.BOTH, Place.RAM}):
        fitting = [index for index, found in enumerate(places) if found in wanted]
        if fitting:
            index = max(fitting, key=lambda each: (shapes[each].weights, -each))
            return FitChoice(index, f"the largest {count} that fits in {_room(machine, wanted)}")
    index = min(range(len(shapes)), key=lambda each: (shapes[each].weights or math.inf, each))
    return FitChoice(index, f"the smallest {count}; none fits in {_room(machine, set(Place))}", fits=False)


def place_of(shape: Shape, machine: Machine, cells: int) -> Place:
    """Return the placement of a model with so many KV cells."""
    placed = place(shape, ContextParams(cells=cells), machine)
    return Place.NOWHERE if placed is None else name_of(placed)


def place(shape: Shape, params: ContextParams, machine: Machine, swa_full: Switch = "auto") -> Plan | None:
    """Return the plan with the most layers on the GPUs; None when the rest does not fit into RAM."""

    def fits(placed: Plan) -> bool:
        return ram_needed(placed, machine) <= SHARE * machine.ram_free

    placed = settle_swa(swa_full, lambda full: most_on_gpu(shape, replace(params, swa_full=full), machine), fits)
    return placed if fits(placed) else None


def settle_swa(wanted: Switch, plan_with: Callable[[bool], Plan], fits: Callable[[Plan], bool]) -> Plan:
    """Return the plan with `swa_full` as wanted, of the two that `plan_with` makes.

    With "auto" sliding layers hold all cells, so that a prefix can be shared at any token and as many sequences run as
    of other models, unless memory forbids it: where that plan does not fit, or leaves the GPUs while the other one is
    on them as a whole. Models without sliding layers always have it on; so do recurrent models with sliding layers,
    where the loss of a window could not be detected.
    """
    full = plan_with(True)
    if wanted == "on" or not full.shape.sliding or full.shape.recurrent:
        return full
    windows = plan_with(False)
    if wanted == "off" or not fits(full):
        return windows
    return windows if name_of(windows) is Place.GPU is not name_of(full) else full


def most_on_gpu(shape: Shape, params: ContextParams, machine: Machine) -> Plan:
    """Return the plan with as many layers on the GPUs as fit there; the rest may not fit into RAM."""
    layers = 0
    if machine.gpus:
        layers = largest(
            len(shape.layers) + 1,
            lambda count: fits_on_gpus(with_layers(shape, params, count, machine), machine),
            step=1,
        )
    return with_layers(shape, params, layers, machine)


def fits_on_gpus(placed: Plan, machine: Machine) -> bool:
    """Whether each GPU has memory for its part of the plan."""
    return all(memory.total <= SHARE * gpu.free for memory, gpu in zip(placed.gpus, machine.gpus, strict=True))


def with_layers(shape: Shape, params: ContextParams, gpu_layers: int, machine: Machine) -> Plan:
    """Return the plan with so many layers on the GPUs of a machine, and the prefill rows that suit them.

    GPUs share layers as the parameters say, or else in proportion to their free memory, as llama.cpp does by itself.
    """
    rows = ROWS_ON_GPU if gpu_layers else params.rows
    return plan(shape, replace(params, gpu_layers=gpu_layers, rows=rows, shares=params.shares or machine.shares))


def ram_needed(placed: Plan, machine: Machine) -> int:
    """Return the bytes of RAM that a plan takes; on a machine with unified memory the GPU's part too."""
    needed: Memory = placed.both if machine.unified else placed.ram
    return needed.total


def name_of(placed: Plan) -> Place:
    """Return the place of the layers of a plan."""
    if not placed.params.gpu_layers:
        return Place.RAM
    return Place.GPU if placed.params.gpu_layers > len(placed.shape.layers) else Place.BOTH


def largest(most: int, fits: Callable[[int], bool], *, step: int = _STEP) -> int:
    """Return the largest of 0, step, 2 * step, ... and `most` that fits; 0 is not tried.

    Where a number fits, all smaller ones must fit too.
    """
    if most > 0 and fits(most):
        return most
    low, high = 0, -(-most // step)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle * step) else (low, middle)
    return low * step


def in_gigabytes(size: float) -> str:
    """Return bytes as text, in gigabytes of 10^9 bytes: 12 GB."""
    gigabytes = size / 1e9
    return f"{gigabytes:.0f} GB" if gigabytes >= 9.95 else f"{gigabytes:.1f} GB"


def _room(machine: Machine, places: set[Place]) -> str:
    if places == {Place.GPU}:
        return f"{in_gigabytes(SHARE * machine.gpu_free)} of GPU memory"
    gpus = 0 if machine.unified else machine.gpu_free
    return in_gigabytes(SHARE * (machine.ram_free + gpus))

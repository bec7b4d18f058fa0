"""What a model that is loaded by llama.cpp can do in a step, and hold in its cache."""

from localrouter.engine.scheduling.limits import Limits
from localrouter.memory.machine import Machine
from localrouter.memory.plan import ContextParams, Plan, sequences, slots

_IDLE_SHARE = (1 / 16, 1 / 2)
"""Of all cells: what may stay of conversations that ended, at least and at most, where these cannot be archived."""
_IDLE_COST = 0.1
"""What may stay of them between these bounds, as a share of the weights' bytes. Attention looks at every cell that is
used, so idle cells take about as much longer for a token as they have more bytes to be read."""
_MEGABYTE = 1_000_000
_COPIES_SHARE = 0.1
"""Of the memory that is free after loading: what copies of states and of cells may take."""


def limits_of(plan: Plan, machine: Machine, cache_ram: int | None, *, recurrent: bool) -> Limits:
    """What a step and the cache hold. `cache_ram` are the megabytes for copies; None: a share of what is free."""
    params = plan.params
    copies = (
        int(_COPIES_SHARE * max(0, machine.ram_free - plan.ram.total)) if cache_ram is None else cache_ram * _MEGABYTE
    )
    windows = plan.shape.sliding and not params.swa_full
    has_scratch = not (recurrent or windows)  # where a sequence takes no memory of its own
    archive = 0 if plan.shape.sliding or recurrent else copies * params.cells // max(plan.both.cache, 1)
    room = slots(plan.shape, params) - has_scratch
    return Limits(
        cells=params.cells,
        slots=room,
        running=min(sequences(plan.shape, params), room),
        prefill_rows=params.rows,
        pads_to_tile=has_scratch and _has_tiles(params),
        recurrent=recurrent,
        idle_cells=0 if archive else _idle_cells(plan),
        has_sliding_window=windows,
        state_bytes=copies,
        state_size=plan.both.states // slots(plan.shape, params),
        host_store_cells=archive,
    )


def _idle_cells(plan: Plan) -> int:
    """What hardly costs anybody time: much of a hybrid's cache, little of a small model's with attention everywhere."""
    cells, cell = plan.params.cells, plan.both.cache / plan.params.cells
    least, most = (int(share * cells) for share in _IDLE_SHARE)
    return min(most, max(least, int(_IDLE_COST * plan.both.weights / max(cell, 1))))


def _has_tiles(params: ContextParams) -> bool:
    """Whether attention has a kernel for many rows that is faster than that for few (flash_attn_ext of ggml-cpu)."""
    return not params.gpu_layers and params.flash_attention and params.kv_type == "f16"

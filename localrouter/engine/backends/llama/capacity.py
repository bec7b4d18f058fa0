"""Limits of a loaded model: the rows of a step, and the KV cells of running, idle and offloaded sequences."""

from localrouter.engine.scheduling.engine_limits import EngineLimits
from localrouter.memory.machine import Machine
from localrouter.memory.plan import ContextParams, Plan, outputs, sequences, slots

_IDLE_SHARE = (1 / 16, 1 / 2)
"""Smallest and largest share of all KV cells that ended sequences may hold where there is no host store."""
_IDLE_COST = 0.1
"""Bytes of idle cells between these limits, as a share of the weights' bytes. Attention reads every cell in use, so
idle cells slow decoding down about in proportion to the bytes that they add."""
_MEGABYTE = 1_000_000
_COPIES_SHARE = 0.1
"""Share of the memory that is free after loading for copies of states and of cells in the host store."""


def limits_of(plan: Plan, machine: Machine, cache_ram: int | None, *, recurrent: bool) -> EngineLimits:
    """Return the limits of a model that is loaded as planned.

    `cache_ram` is the size of the host store in megabytes; None: a share of the free memory.
    """
    params = plan.params
    copies = (
        int(_COPIES_SHARE * max(0, machine.ram_free - plan.ram.total)) if cache_ram is None else cache_ram * _MEGABYTE
    )
    windows = plan.shape.sliding and not params.swa_full
    has_scratch = not (recurrent or windows)  # a sequence takes no memory of its own
    host_store_cells = 0 if plan.shape.sliding or recurrent else copies * params.cells // max(plan.both.cache, 1)
    room = slots(plan.shape, params) - has_scratch
    return EngineLimits(
        cells=params.cells,
        slots=room,
        running=min(sequences(plan.shape, params), room),
        outputs=outputs(plan.shape, params),
        prefill_rows=params.rows,
        pads_to_tile=has_scratch and _has_tiles(params),
        recurrent=recurrent,
        idle_cells=0 if host_store_cells else _idle_cells(plan),
        has_sliding_window=windows,
        state_bytes=copies,
        state_size=plan.both.states // slots(plan.shape, params),
        host_store_cells=host_store_cells,
    )


def _idle_cells(plan: Plan) -> int:
    """Return the idle cells that slow decoding down little: many in a hybrid, few in a small attention-only model."""
    cells, cell = plan.params.cells, plan.both.cache / plan.params.cells
    least, most = (int(share * cells) for share in _IDLE_SHARE)
    return min(most, max(least, int(_IDLE_COST * plan.both.weights / max(cell, 1))))


def _has_tiles(params: ContextParams) -> bool:
    """Whether attention has a faster kernel for many rows (flash_attn_ext of ggml-cpu)."""
    return not params.gpu_layers and params.flash_attention and params.kv_type == "f16"

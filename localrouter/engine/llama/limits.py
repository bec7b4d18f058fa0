"""What a model that is loaded by llama.cpp can do in a step, and hold in its cache."""

from localrouter.engine.limits import Limits
from localrouter.memory.machine import Machine
from localrouter.memory.plan import Options, Plan, sequences, slots

_IDLE_SHARE = 1 / 16
"""Of all cells: what may stay of conversations that have ended, where these cannot be archived. Attention on a CPU
looks at every cell that is used."""
_MEGABYTE = 1_000_000
_COPIES_SHARE = 0.1
"""Of the memory that is free after loading: what copies of states and of cells may take."""


def limits_of(plan: Plan, machine: Machine, cache_ram: int | None, *, recurrent: bool) -> Limits:
    """What a step and the cache hold. `cache_ram` are the megabytes for copies; None: a share of what is free."""
    options = plan.options
    copies = (
        int(_COPIES_SHARE * max(0, machine.ram_free - plan.ram.total)) if cache_ram is None else cache_ram * _MEGABYTE
    )
    windows = plan.shape.sliding and not options.swa_full
    has_scratch = not (recurrent or windows)  # where a sequence takes no memory of its own
    archive = 0 if plan.shape.sliding or recurrent else copies * options.cells // max(plan.both.cache, 1)
    room = slots(plan.shape, options) - has_scratch
    return Limits(
        cells=options.cells,
        slots=room,
        running=min(sequences(plan.shape, options), room),
        prefill_rows=options.rows,
        pads=has_scratch and _has_tiles(options),
        recurrent=recurrent,
        idle_cells=0 if archive else int(_IDLE_SHARE * options.cells),
        windows=windows,
        state_bytes=copies,
        archive_cells=archive,
    )


def _has_tiles(options: Options) -> bool:
    """Whether attention has a kernel for many rows that is faster than that for few (flash_attn_ext of ggml-cpu)."""
    return not options.gpu_layers and options.flash_attention and options.kv == "f16"

"""What a model on a machine can do in a step, and hold in its cache."""

from dataclasses import dataclass

from localrouter.memory.plan import ROWS


@dataclass(frozen=True)
class Limits:
    """What the cache and a step can hold. All counts are of tokens, but `slots`."""

    cells: int
    """Positions of the cache, shared by all sequences."""
    slots: int
    """Sequences that can be in the cache at the same time."""
    running: int = 0
    """Sequences that are computed at the same time; 0: as many as there are slots. The other slots keep what ended."""
    prefill_rows: int = ROWS
    """Prompt tokens per step while nobody is decoding."""
    tile: int = 64
    """Rows that are computed with one kernel: a step has a multiple of it where it can."""
    pads_to_tile: bool = False
    """Steps may have rows that nobody needs, where a whole tile takes less time than a part of it."""
    recurrent: bool = False
    """The model has recurrent states. These cannot be cut back, and are slow on batches of unequal lengths."""
    idle_cells: int | None = None
    """Cells that may be held for nobody in particular: attention takes longer for each of them. None: all."""
    has_sliding_window: bool = False
    """Sliding layers hold their windows only: what a slot holds can be shared at its tip or at a checkpoint."""
    state_bytes: int = 0
    """Memory that checkpoints may take, which are copies of recurrent states or of windows."""
    state_size: int = 0
    """Bytes of one checkpoint; 0 where that is not known."""
    host_store_cells: int = 0
    """Cells of ended conversations of which copies may be kept outside the cache; 0 where none can be made."""

    @property
    def can_fork_anywhere(self) -> bool:
        """Whether what a slot holds can be shared up to any of its tokens."""
        return not (self.recurrent or self.has_sliding_window)

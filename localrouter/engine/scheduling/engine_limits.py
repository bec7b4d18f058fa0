"""Limits: what the cache and a step can hold, for one model on one machine."""

from dataclasses import dataclass

from localrouter.memory.plan import ROWS, SCORED_ROWS


@dataclass(frozen=True)
class EngineLimits:
    """What the cache and a step of one backend can hold."""

    cells: int
    """KV cells of the cache, one per token, shared by all sequences."""
    slots: int
    """Number of sequences that can be in the cache at the same time."""
    running: int = 0
    """Number of sequences that can run at the same time, 0 for `slots`. The other slots keep ended sequences."""
    outputs: int = 0
    """Largest number of rows with logits in one step, more than `running`; 0: 32 more than there are slots."""
    prefill_rows: int = ROWS
    """Largest number of prompt tokens in one step."""
    tile: int = 64
    """Number of rows that attention computes with one kernel. A step has a multiple of it where possible."""
    pads_to_tile: bool = False
    """Whether a step may be padded to a whole tile with rows of no sequence, where this makes it faster."""
    recurrent: bool = False
    """Whether the model has recurrent states. These cannot be cut back, and are slow with chunks of unequal lengths."""
    idle_cells: int | None = None
    """KV cells that ended sequences may hold beside running ones, because attention reads them too. None: all."""
    has_sliding_window: bool = False
    """Whether sliding-window layers hold their windows only, so that a slot can be forked at few of its tokens."""
    state_bytes: int = 0
    """Limit in bytes of all checkpoints: copies of recurrent states or of windows."""
    state_size: int = 0
    """Size of one checkpoint in bytes; 0 if unknown."""
    host_store_cells: int = 0
    """KV cells of which copies can be kept in host memory; 0 where the backend cannot copy cells."""

    @property
    def max_outputs(self) -> int:
        """Largest number of rows with logits in one step."""
        return self.outputs or self.slots + SCORED_ROWS

    @property
    def can_fork_anywhere(self) -> bool:
        """Whether a slot can be forked at any of its tokens, without a checkpoint."""
        return not (self.recurrent or self.has_sliding_window)

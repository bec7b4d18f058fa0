"""Checkpoints: copies of the state of layers that cannot be cut back to an earlier token.

A recurrent layer has one state for all tokens so far, and a sliding-window layer may hold the last window only. So a
slot of such a model can be forked at its last token alone, unless its state was copied at an earlier one. These copies
lie in host memory, and the least recently used ones are discarded when they take too many bytes.
"""

from collections import OrderedDict
from dataclasses import dataclass


@dataclass(frozen=True)
class Checkpoint:
    """A copy, in host memory, of a slot's recurrent states or windows after some number of its tokens."""

    handle: int
    """The backend's id of the copy."""
    size: int
    """Size of the copy in bytes."""


class Checkpoints:
    """All checkpoints of the cache, ordered by their last use."""

    def __init__(self, max_bytes: int) -> None:
        """`max_bytes` limits the size of all checkpoints together."""
        self.max_bytes = max_bytes
        self._by_handle: OrderedDict[int, Checkpoint] = OrderedDict()

    @property
    def handles(self) -> set[int]:
        """Handles of all checkpoints."""
        return set(self._by_handle)

    def add(self, checkpoint: Checkpoint) -> None:
        """Add a checkpoint as the most recently used one."""
        self._by_handle[checkpoint.handle] = checkpoint

    def touch(self, checkpoint: Checkpoint) -> None:
        """Make a checkpoint the most recently used one."""
        self._by_handle.move_to_end(checkpoint.handle)

    def remove(self, checkpoint: Checkpoint) -> None:
        """Remove a checkpoint; does nothing if it is not there."""
        self._by_handle.pop(checkpoint.handle, None)

    def surplus(self) -> list[Checkpoint]:
        """Return the least recently used checkpoints without which the others fit into `max_bytes`."""
        excess = sum(checkpoint.size for checkpoint in self._by_handle.values()) - self.max_bytes
        surplus = []
        for checkpoint in self._by_handle.values():
            if excess <= 0:
                break
            surplus.append(checkpoint)
            excess -= checkpoint.size
        return surplus

"""KV-cache operations: changes of the cache that were decided and that the backend has yet to perform.

Their order matters. A fork is decided before its source can be cleared, and a slot is cleared before it is used again,
so the backend must perform operations in the order in which they were decided, and all of them before the next batch.
"""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from localrouter.engine.kv_cache.checkpoints import Checkpoint


@dataclass(frozen=True)
class Clear:
    """Free all KV cells of a slot."""

    slot: int


@dataclass(frozen=True)
class Fork:
    """Let the empty `slot` share the first `count` tokens of `source`, with the state of `checkpoint` unless None."""

    source: int
    slot: int
    count: int
    checkpoint: Checkpoint | None


@dataclass(frozen=True)
class Discard:
    """Free the copy of a state."""

    checkpoint: Checkpoint


@dataclass(frozen=True)
class Store:
    """Copy the KV cells of a slot from position `start` up to `end` to host memory, under `handle`."""

    handle: int
    slot: int
    start: int
    end: int


@dataclass(frozen=True)
class Restore:
    """Copy positions `start` up to `end` from host memory back into a slot that holds all tokens before `start`."""

    handle: int
    slot: int
    start: int
    end: int


@dataclass(frozen=True)
class Forget:
    """Free a copy of KV cells in host memory."""

    handle: int


Operation: TypeAlias = Clear | Fork | Discard | Store | Restore | Forget


class CacheBackend(Protocol):
    """The part of a backend that performs KV-cache operations."""

    def clear(self, slot: int) -> None:
        """Free all KV cells of a slot."""

    def fork(self, source: int, slot: int, count: int, checkpoint: Checkpoint | None) -> bool:
        """Let an empty slot share the first `count` tokens of another; return False, changing nothing, on failure."""

    def discard_state(self, checkpoint: Checkpoint) -> None:
        """Free the copy of a state."""

    def store(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Copy KV cells from position `start` up to `end` to host memory; return False if there is no memory."""

    def restore(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Copy positions `start` up to `end` back into a slot; return False if the copy or room for it is missing."""

    def forget(self, handle: int) -> None:
        """Free a copy of KV cells; do nothing if there is none."""


def perform(operation: Operation, backend: CacheBackend) -> bool:
    """Let the backend perform one operation; return False if it failed, as only Fork, Store and Restore can."""
    match operation:
        case Clear(slot):
            backend.clear(slot)
        case Discard(checkpoint):
            backend.discard_state(checkpoint)
        case Forget(handle):
            backend.forget(handle)
        case Fork(source, slot, count, checkpoint):
            return backend.fork(source, slot, count, checkpoint)
        case Store(handle, slot, start, end):
            return backend.store(handle, slot, start, end)
        case Restore(handle, slot, start, end):
            return backend.restore(handle, slot, start, end)
    return True

"""What the backend has to do to its cache before the next batch, in the order in which it was decided."""

from dataclasses import dataclass
from typing import TypeAlias

from localrouter.engine.kv_cache.radix_tree import Checkpoint


@dataclass(frozen=True)
class Clear:
    """Free all that a slot holds."""

    slot: int


@dataclass(frozen=True)
class Fork:
    """Let a slot that holds nothing share the first `count` tokens of another, from a kept state where there is one."""

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
    """Copy the cells of a slot from position `start` on out of the cache."""

    handle: int
    slot: int
    start: int
    end: int


@dataclass(frozen=True)
class Restore:
    """Bring back the cells from position `start` to `end` of a copy, into a slot that holds what comes before."""

    handle: int
    slot: int
    start: int
    end: int


@dataclass(frozen=True)
class Forget:
    """Free a copy of cells."""

    handle: int


Operation: TypeAlias = Clear | Fork | Discard | Store | Restore | Forget

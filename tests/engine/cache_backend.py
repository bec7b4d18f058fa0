"""What tests of the KV cache's bookkeeping share: a backend that holds no cells and fails on request, and a prefill."""

from localrouter.engine.kv_cache.checkpoints import Checkpoint
from localrouter.engine.kv_cache.kv_cache import KvCache
from localrouter.engine.kv_cache.operations import Operation


class FakeCacheBackend:
    """Accepts every KV-cache operation, except those of the kinds in `failing`: "fork", "store", "restore"."""

    def __init__(self, *failing: str) -> None:
        self.failing = failing

    def clear(self, slot: int) -> None:
        """Do nothing."""

    def fork(self, source: int, slot: int, count: int, checkpoint: Checkpoint | None) -> bool:
        """Return whether forks succeed."""
        return "fork" not in self.failing

    def discard_state(self, checkpoint: Checkpoint) -> None:
        """Do nothing."""

    def store(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Return whether copies can be made."""
        return "store" not in self.failing

    def restore(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Return whether copies can be restored."""
        return "restore" not in self.failing

    def forget(self, handle: int) -> None:
        """Do nothing."""


def performed(cache: KvCache) -> list[Operation]:
    """Let a backend perform all pending operations, and return them."""
    operations = [*cache.pending]
    cache.apply(FakeCacheBackend())
    return operations


def prefill(cache: KvCache, tokens: list[int]) -> int:
    """Compute what is not cached of a prompt, and return its slot."""
    match = cache.match(tokens)
    slot = cache.acquire(match)
    assert slot is not None
    cache.extend(slot, tokens[match.count if match else 0 :])
    return slot

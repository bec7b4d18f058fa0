"""Host offload: copying KV cells of idle slots to host memory, piece by piece, and restoring them for later prompts.

Running streams wait while cells are copied, so a long conversation is copied in pieces of `_PIECE` tokens or more. Only
cells that are not in the host store yet are copied. Copying and restoring are recorded as pending operations.
"""

from collections.abc import Sequence

from localrouter.engine.kv_cache.host_store import HostStore
from localrouter.engine.kv_cache.operations import Forget, Operation, Restore, Store
from localrouter.engine.kv_cache.radix_tree import RadixTree, common_length

_PIECE = 256
"""Smallest piece, in tokens, that a long conversation is cut into."""
_MAX_PIECES = 64
"""Number of pieces that a conversation is cut into at most, approximately: each piece costs a stored prefix."""


class HostOffload:
    """Decides what of a slot is copied to the host store, and what of the store is restored into a slot."""

    def __init__(self, store: HostStore, tree: RadixTree, pending: list[Operation]) -> None:
        """`pending` is the list that operations are appended to."""
        self.store = store
        self._tree = tree
        self._pending = pending
        self._incomplete: set[int] = set()
        """Idle slots of which the host store may lack some cells."""
        self._failed: set[int] = set()
        """Idle slots that the backend could not copy."""

    def track(self, slot: int) -> None:
        """Consider a slot, which has become idle, for `offload_next`."""
        self._incomplete.add(slot)

    def untrack(self, slot: int) -> None:
        """Consider a slot, which is idle no more, no longer."""
        self._incomplete.discard(slot)
        self._failed.discard(slot)

    @property
    def tracked(self) -> set[int]:
        """Slots that must be idle: those that may lack copies, and those that could not be copied."""
        return self._incomplete | self._failed

    def offload_next(self) -> bool:
        """Copy one piece of an idle slot; return False if there is nothing left to copy."""
        slot = next(iter(self._incomplete), None)
        if slot is None:
            return False
        if self.offload_piece(slot, 0) == self._tree.length(slot):
            self._incomplete.remove(slot)
        return True

    def offload(self, slot: int) -> None:
        """Copy all cells of a slot that no other slot shares and the host store lacks."""
        start = self.exclusive_start(slot)
        while start < self._tree.length(slot):
            start = self.offload_piece(slot, start)

    def exclusive_start(self, slot: int) -> int:
        """Return the position of the first cell that no other slot shares."""
        return self._tree.length(slot) - self._tree.exclusive_cells(slot)

    def offload_piece(self, slot: int, start: int) -> int:
        """Copy the first piece from position `start` on that the host store lacks; return the position after it.

        That is the slot's length if the rest is too short, does not fit into the host store, or cannot be copied.
        """
        length, store = self._tree.length(slot), self.store
        if slot in self._failed or not store.min_tokens <= length - start <= store.max_cells:
            return length
        tokens = self._tree.tokens(slot)
        start = store.covered(tokens, start)
        if length - start < store.min_tokens:
            return length
        piece = max(_PIECE, length // _MAX_PIECES)
        end = start + piece if length - start >= piece + store.min_tokens else length
        prefix = store.add(tokens[:end], start)
        self._pending.append(Store(prefix.handle, slot, start, end))
        self._pending += [Forget(handle) for handle in store.evict()]
        return end

    def restore(self, slot: int, prompt: Sequence[int], cells: int) -> int:
        """Restore what the host store has of a prompt beyond the tokens in the slot; return the slot's new length.

        The last token of the prompt is left to be computed. `cells` is the size of the cache, in tokens.
        """
        length = self._tree.length(slot)
        while found := self.store.find(prompt, length, len(prompt) - 1, cells - self._tree.cells_used):
            end = min(common_length(found.tokens, prompt), len(prompt) - 1)
            self._pending.append(Restore(found.handle, slot, length, end))
            self._tree.extend(slot, prompt[length:end])
            length = end
        return length

    def drop(self, handle: int) -> None:
        """Remove a stored prefix and free its copy."""
        self.store.remove(handle)
        self._pending.append(Forget(handle))

    def invalidate_prefix(self, tokens: Sequence[int], count: int) -> None:
        """Drop every copy of cells whose values depend on the first `count` of these tokens; none if `count` is 0."""
        for handle in self.store.containing(tokens, count) if count else ():
            self.drop(handle)

    def store_failed(self, handle: int, slot: int, *, is_idle: bool) -> None:
        """Drop a copy that the backend could not make. While the slot stays idle, no other copy of it is tried."""
        self.drop(handle)
        if is_idle:
            self._failed.add(slot)

"""The KV cache as the scheduler and the engine use it: prefix sharing, eviction, checkpoints and host offload.

The cache is a pool of cells, one per token, and a number of slots, one per sequence. A new sequence starts from the
longest cached prefix of its prompt (`match`, `acquire`), continued from host memory (`restore`). When it ends its slot
stays as idle (`release`) until its cells or its slot are needed (`evict`).

Attention reads every cell in use, those of idle slots too. So only a few of these stay beside running sequences; the
others are offloaded to host memory, from where restoring takes a small part of the time of computing.

All of this is bookkeeping. `apply` lets the backend perform the pending operations that follow from it.
"""

from collections.abc import Sequence

from localrouter.engine.kv_cache.cache_usage import CacheUsage
from localrouter.engine.kv_cache.checkpoints import Checkpoint, Checkpoints
from localrouter.engine.kv_cache.eviction import slot_to_free_cells, slot_to_reuse
from localrouter.engine.kv_cache.host_offload import HostOffload
from localrouter.engine.kv_cache.host_store import HostStore
from localrouter.engine.kv_cache.operations import (
    CacheBackend,
    Clear,
    Discard,
    Fork,
    Operation,
    Restore,
    Store,
    perform,
)
from localrouter.engine.kv_cache.radix_tree import Match, RadixTree, common_length
from localrouter.engine.kv_cache.slots import Slots

_CELLS_PER_IDLE_CELL = 8
"""Number of cells that running sequences attend to for each idle cell that may stay, beside `idle_cells`."""


class KvCache:
    """The contents of all slots, and the operations with which the backend keeps up with them."""

    def __init__(
        self,
        *,
        slots: int,
        cells: int,
        can_fork_anywhere: bool = True,
        state_bytes: int = 0,
        idle_cells: int | None = None,
        host_store: HostStore | None = None,
    ) -> None:
        """Create an empty cache of `slots` slots and `cells` cells; `state_bytes` limits the size of all checkpoints.

        `idle_cells` limits the cells of idle slots beside running ones, None does not. Without a host store the
        slot that became idle last is kept regardless.
        """
        self.cells = cells
        self._idle_cells = cells if idle_cells is None else idle_cells
        self._tree = RadixTree(can_fork_anywhere=can_fork_anywhere)
        self._slots = Slots(slots)
        self._checkpoints = Checkpoints(state_bytes)
        self._pending: list[Operation] = []
        self._offload = HostOffload(host_store or HostStore(0), self._tree, self._pending)
        self._unforkable: dict[int, int] = {}
        """For some slots, the number of tokens up to which they cannot be forked."""

    @property
    def cells_free(self) -> int:
        """Number of cells that hold nothing."""
        return self.cells - self._tree.cells_used

    @property
    def cells_idle(self) -> int:
        """Number of cells that only idle slots hold."""
        return self._tree.held_only_by(self._slots.idle)

    @property
    def cells_running(self) -> int:
        """Number of cells that running sequences hold, shared ones counted once."""
        return self._tree.cells_used - self.cells_idle

    @property
    def usage(self) -> CacheUsage:
        """Numbers of cells that are running, cached and offloaded."""
        return CacheUsage(self.cells_running, self.cells_idle, self._offload.store.cells)

    @property
    def slots_free(self) -> list[int]:
        """Slots that hold nothing, in ascending order."""
        return self._slots.free

    @property
    def pending(self) -> tuple[Operation, ...]:
        """Operations that the backend has yet to perform, in their order."""
        return tuple(self._pending)

    @property
    def checkpoint_handles(self) -> set[int]:
        """Handles of all checkpoints."""
        return self._tree.handles

    @property
    def offloaded_handles(self) -> set[int]:
        """Handles of all copies of cells in host memory."""
        return self._offload.store.handles

    def is_idle(self, slot: int) -> bool:
        """Return whether a slot keeps the tokens of a sequence that has ended."""
        return slot in self._slots.idle

    def length(self, slot: int) -> int:
        """Return the number of tokens in a slot, 0 for a free one."""
        return self._tree.length(slot) if slot in self._tree else 0

    def tokens(self, slot: int) -> list[int]:
        """Return the tokens in a slot, none for a free one."""
        return self._tree.tokens(slot) if slot in self._tree else []

    def match(self, prompt: Sequence[int]) -> Match | None:
        """Return the longest cached prefix of a prompt, without its last token, which has to be computed."""
        return self._tree.match(prompt, len(prompt) - 1, self._unforkable)

    def acquire(self, match: Match | None) -> int | None:
        """Return a slot, running from now on, with the matched tokens or none; None if all slots are running.

        An idle slot of exactly these tokens is continued, any other is forked into a free slot or an evicted one.
        """
        if match is None:
            slot = self._free_slot()
            if slot is not None:
                self._tree.open(slot)
            return slot
        self._slots.touch(match.slot)
        if match.checkpoint is not None:
            self._checkpoints.touch(match.checkpoint)
        if self.is_idle(match.slot) and match.count == self._tree.length(match.slot):
            self._slots.resume(match.slot)
            self._offload.untrack(match.slot)
            return match.slot
        slot = self._free_slot(spare=match.slot)
        if slot is None:
            return None
        self._tree.fork(match.slot, slot, match.count)
        self._pending.append(Fork(match.slot, slot, match.count, match.checkpoint))
        return slot

    def restore(self, slot: int, prompt: Sequence[int]) -> int:
        """Continue a slot with offloaded tokens of a prompt, its last token left out; return the slot's new length."""
        return self._offload.restore(slot, prompt, self.cells)

    def extend(self, slot: int, tokens: Sequence[int]) -> None:
        """Record that the backend has computed more tokens of a running slot."""
        self._tree.extend(slot, tokens)

    def has_checkpoint(self, slot: int) -> bool:
        """Return whether there is a checkpoint after the last token of a slot."""
        return self._tree.has_checkpoint(slot)

    def add_checkpoint(self, slot: int, checkpoint: Checkpoint) -> None:
        """Record a copy of the state after a slot's last token. Least recently used ones are discarded for space."""
        self._tree.add_checkpoint(slot, checkpoint)
        self._checkpoints.add(checkpoint)
        self._discard_dropped()
        if surplus := self._checkpoints.surplus():
            self._tree.drop_checkpoints(surplus)
            self._discard_dropped()

    def release(self, slot: int) -> None:
        """Make a running slot idle, so that prompts with the same prefix can reuse it; an empty one becomes free."""
        if not self._tree.length(slot):
            self.clear(slot)
            return
        self._slots.make_idle(slot)
        self._offload.track(slot)
        idle = self._slots.idle
        while not self._offload.store.is_enabled and len(idle) > 1 and self.cells_idle > self._idle_cells:
            self.clear(next(iter(idle)))

    def clear(self, slot: int) -> None:
        """Free a running or idle slot and what it holds."""
        self._slots.make_free(slot)
        self._offload.untrack(slot)
        self._unforkable.pop(slot, None)
        self._tree.close(slot)
        self._pending.append(Clear(slot))
        self._discard_dropped()

    def evict(self, spare: int | None = None) -> bool:
        """Offload an idle slot, never `spare`; return False if that would free no cells."""
        slot = slot_to_free_cells(self._slots.idle, self._tree, spare)
        if slot is not None:
            self.offload(slot)
        return slot is not None

    def offload(self, slot: int) -> None:
        """Free a running or idle slot, after copying to host memory what no other slot and no copy holds."""
        self._offload.offload(slot)
        self.clear(slot)

    def offload_next(self) -> bool:
        """Copy a piece of an idle slot to host memory before its cells are needed; return False if none is left."""
        return self._offload.offload_next()

    def offload_idle(self, attended: int) -> bool:
        """Offload and free idle slots while they hold too many cells beside the `attended` cells of running sequences.

        At most one piece is copied per call, because running streams wait for it. Returns whether nothing is left.
        """
        limit = self._idle_cells + attended // _CELLS_PER_IDLE_CELL
        while self._offload.store.is_enabled and self.cells_idle > limit:
            slot = slot_to_free_cells(self._slots.idle, self._tree)
            if slot is None:
                break
            before = len(self._pending)
            end = self._offload.offload_piece(slot, self._offload.exclusive_start(slot))
            if end == self._tree.length(slot):
                self.clear(slot)
            if any(isinstance(operation, Store) for operation in self._pending[before:]):
                return False
        return True

    def drop_offloaded(self) -> None:
        """Free all copies of cells in host memory."""
        for handle in self.offloaded_handles:
            self._offload.drop(handle)

    def invalidate_prefix(self, tokens: Sequence[int], count: int) -> None:
        """Free all idle slots and copies that begin with the first `count` of these tokens: their values are wrong."""
        for slot in [*self._slots.idle] if count else ():
            if common_length(self._tree.tokens(slot), tokens) >= count:
                self.clear(slot)
        self._offload.invalidate_prefix(tokens, count)

    def mark_unforkable(self, slot: int, count: int) -> None:
        """Do not fork a slot at its first `count` tokens or fewer again: the backend does not hold what that takes.

        A slot that has fewer tokens by now, because it was emptied, is not marked.
        """
        if slot in self._tree and self._tree.length(slot) >= count:
            self._unforkable[slot] = max(count, self._unforkable.get(slot, 0))

    def apply(self, backend: CacheBackend) -> set[int]:
        """Let the backend perform all pending operations; return the running slots that were emptied after a failure.

        A prefix that could not be forked or restored is missing there, so their sequences must compute all tokens.
        """
        emptied: set[int] = set()
        while self._pending:
            operations = self.pending
            self._pending.clear()
            for operation in operations:
                if isinstance(operation, Restore) and self._tree.length(operation.slot) < operation.end:
                    continue  # the slot was emptied: what comes before could not be forked or restored
                if not perform(operation, backend):
                    emptied |= self._recover(operation)
        return emptied

    def check(self, running: set[int]) -> None:
        """Assert the invariants that hold between two steps, given the running slots. For tests."""
        self._tree.check_integrity()
        idle = [*self._slots.idle]
        assert sorted([*self._slots.free, *idle, *running]) == list(range(self._slots.count))
        assert {slot for slot in range(self._slots.count) if slot in self._tree} == {*idle, *running}
        assert 0 <= self.cells_idle <= self._tree.cells_used <= self.cells
        assert self._checkpoints.handles == self._tree.handles
        assert self._offload.tracked <= set(idle)
        assert self._offload.store.cells <= self._offload.store.max_cells

    def _recover(self, operation: Operation) -> set[int]:
        """Correct the bookkeeping for an operation that failed; return the running slot that was emptied, if any."""
        match operation:
            case Store(handle, slot):
                self._offload.store_failed(handle, slot, is_idle=self.is_idle(slot))
                return set()
            case Fork(source, slot, count):
                self.mark_unforkable(source, count)
            case Restore(handle, slot):
                self._offload.drop(handle)
            case _:
                raise AssertionError(operation)
        if slot not in self._tree or self.is_idle(slot):
            return set()
        self._unforkable.pop(slot, None)
        self._tree.close(slot)
        self._tree.open(slot)
        self._pending.append(Clear(slot))
        self._discard_dropped()
        return {slot}

    def _free_slot(self, spare: int | None = None) -> int | None:
        """Return a free slot, after evicting an idle one other than `spare` if none is free."""
        if not self._slots.free:
            slot = slot_to_reuse(self._slots.idle, self._tree, spare)
            if slot is None:
                return None
            self.offload(slot)
        return self._slots.take_free()

    def _discard_dropped(self) -> None:
        for checkpoint in self._tree.take_dropped():
            self._checkpoints.remove(checkpoint)
            self._pending.append(Discard(checkpoint))

"""The slots of the cache: running sequences own some, finished ones stay in others as long as nobody needs the room.

Attention passes over every cell that is used, also over those of conversations that have ended. So beside running
sequences only a few of these stay in the cache; the others go into the archive, from where they come back in a small
part of the time that it takes to compute them.

Pure bookkeeping. What the backend has to do about it is noted as `changes`, to be made in their order before the next
batch: every fork happens before its source can be cleared, and every clear before its slot is used again.
"""

from collections import OrderedDict
from collections.abc import Sequence as Tokens

from localrouter.engine.kv_cache.host_store import HostStore
from localrouter.engine.kv_cache.operations import Clear, Discard, Forget, Fork, Operation, Restore, Store
from localrouter.engine.kv_cache.radix_tree import Checkpoint, Match, RadixTree, common

_BESIDE = 8
"""How many times more cells running sequences look at than what may stay beside them of those that have ended."""
_PIECE, _PIECES = 256, 64
"""Tokens that are archived at once, and of how many pieces a conversation has about at most."""


class Slots:
    """Hands out slots with as much of a prompt in them as is there already."""

    def __init__(
        self,
        *,
        slots: int,
        cells: int,
        can_fork_anywhere: bool = True,
        state_bytes: int = 0,
        idle_cells: int | None = None,
        host_store_cells: int = 0,
    ) -> None:
        """`idle_cells` is how many may be held for nobody in particular while others are running.

        Without an archive, which has `archive_cells`, the conversation that ended last stays all the same.
        `state_bytes` is how much memory checkpoints may take.
        """
        self.cells = cells
        self._idle_cells = cells if idle_cells is None else idle_cells
        self.cache = RadixTree(can_fork_anywhere=can_fork_anywhere)
        self.host_store = HostStore(host_store_cells) if host_store_cells else None
        self.operations: list[Operation] = []
        self._slots = slots
        self._free = list(range(slots - 1, -1, -1))
        self._idle: OrderedDict[int, None] = OrderedDict()
        """Slots that nobody runs in, the least recently used first."""
        self._not_stored: set[int] = set()
        """Idle slots of which the archive may lack something."""
        self._not_storable: set[int] = set()
        """Idle slots of which a copy could not be made."""
        self._unforkable: dict[int, int] = {}
        """By slot, the number of tokens up to which it cannot be forked."""
        self._state_bytes = state_bytes
        self._checkpoints: OrderedDict[int, Checkpoint] = OrderedDict()

    @property
    def cells_free(self) -> int:
        """Cells that hold nothing."""
        return self.cells - self.cache.cells_used

    @property
    def cells_idle(self) -> int:
        """Cells that only slots hold in which nobody runs."""
        return self.cache.held_only_by(self._idle)

    def match(self, prompt: Tokens[int]) -> Match | None:
        """The longest beginning of a prompt that is here; its last token is left to be computed."""
        return self.cache.match(prompt, len(prompt) - 1, self._unforkable)

    def mark_unforkable(self, slot: int, count: int) -> None:
        """The backend does not hold the first `count` tokens of a slot any more, as far as others need them.

        Nothing is to be noted of a slot that starts anew itself.
        """
        if slot in self.cache and self.cache.length(slot) >= count:
            self._unforkable[slot] = max(count, self._unforkable.get(slot, 0))

    def take(self, match: Match | None) -> int | None:
        """Return a slot that holds what was matched and nothing more; None when all slots are running."""
        if match is None:
            slot = self._unused()
            if slot is not None:
                self.cache.open(slot)
            return slot
        self._touch(match)
        if match.slot in self._idle and match.count == self.cache.length(match.slot):
            del self._idle[match.slot]
            self._not_stored.discard(match.slot)
            self._not_storable.discard(match.slot)
            return match.slot
        slot = self._unused(spare=match.slot)
        if slot is None:
            return None
        self.cache.fork(match.slot, slot, match.count)
        self.operations.append(Fork(match.slot, slot, match.count, match.checkpoint))
        return slot

    def release(self, slot: int) -> None:
        """Nobody runs in this slot any more; what it holds stays for who begins alike."""
        if not self.cache.length(slot):
            self.clear(slot)
            return
        self._idle[slot] = None
        self._not_stored.add(slot)
        while self.host_store is None and len(self._idle) > 1 and self.cells_idle > self._idle_cells:
            self.clear(next(iter(self._idle)))

    def offload_idle(self, wanted: int) -> bool:
        """Move conversations that have ended out of the way of those that run, which will look at `wanted` cells.

        One piece at a time, for running streams wait for it. Returns whether nothing is left to do.
        """
        most = self._idle_cells + wanted // _BESIDE
        while self.host_store is not None and self.cells_idle > most:
            slot = self._victim()
            if slot is None:
                break
            before, end = len(self.operations), self._store(slot, self._own_start(slot))
            if end == self.cache.length(slot):
                self.clear(slot)
            if any(isinstance(change, Store) for change in self.operations[before:]):
                return False
        return True

    def restore(self, slot: int, prompt: Tokens[int]) -> int:
        """Bring back what the archive has of a prompt beyond what a slot holds; its last token is left to be computed.

        Returns how many tokens the slot holds then.
        """
        here = self.cache.length(slot)
        while self.host_store is not None:
            found = self.host_store.find(prompt, here, len(prompt) - 1, self.cells_free)
            if found is None:
                break
            end = min(common(found.tokens, prompt), len(prompt) - 1)
            self.operations.append(Restore(found.handle, slot, here, end))
            self.cache.extend(slot, prompt[here:end])
            here = end
        return here

    def offload_next(self) -> bool:
        """Archive a piece of a conversation that has ended before its room is needed; False when all are."""
        slot = next(iter(self._not_stored), None)
        if slot is None:
            return False
        if self._store(slot, 0) == self.cache.length(slot):
            self._not_stored.remove(slot)
        return True

    def store(self, slot: int) -> None:
        """Archive what would be lost with a slot: not what others hold too, nor what is there already."""
        start = self._own_start(slot)
        while start < self.cache.length(slot):
            start = self._store(slot, start)

    def _own_start(self, slot: int) -> int:
        """The position of the first cell that no other slot holds."""
        return self.cache.length(slot) - self.cache.private(slot)

    def _store(self, slot: int, start: int) -> int:
        """Archive the next piece, from `start` on, that is not there yet; return the position after it.

        That is the end also where the rest is not worth it, does not fit into the archive, or cannot be copied.
        """
        length = self.cache.length(slot)
        if (
            self.host_store is None
            or slot in self._not_storable
            or not self.host_store.worth <= length - start <= self.host_store.most_cells
        ):
            return length
        tokens = self.cache.tokens(slot)
        start = self.host_store.covered(tokens, start)
        if length - start < self.host_store.worth:
            return length
        piece = max(_PIECE, length // _PIECES)
        end = start + piece if length - start >= piece + self.host_store.worth else length
        excerpt = self.host_store.keep(tokens[:end], start)
        self.operations.append(Store(excerpt.handle, slot, start, end))
        self.operations += [Forget(handle) for handle in self.host_store.surplus()]
        return end

    def forget(self, handle: int) -> None:
        """A copy of cells could not be made, or could not be brought back."""
        assert self.host_store is not None
        self.host_store.forget(handle)
        self.operations.append(Forget(handle))

    def not_stored(self, handle: int, slot: int) -> None:
        """A copy of a slot's cells could not be made; while it is idle it is not tried again."""
        self.forget(handle)
        if slot in self._idle:
            self._not_storable.add(slot)

    def invalidate_prefix(self, tokens: Tokens[int], count: int) -> None:
        """Forget what nobody runs in and has the first `count` of these tokens: what comes after them is nonsense."""
        for slot in [*self._idle] if count else ():
            if common(self.cache.tokens(slot), tokens) >= count:
                self.clear(slot)
        for handle in self.host_store.beginning(tokens, count) if self.host_store and count else ():
            self.forget(handle)

    def clear(self, slot: int) -> None:
        """Free a slot."""
        self._idle.pop(slot, None)
        self._not_stored.discard(slot)
        self._not_storable.discard(slot)
        self._unforkable.pop(slot, None)
        self.cache.close(slot)
        self._free.append(slot)
        self.operations.append(Clear(slot))
        self._discard_dropped()

    def empty(self, slot: int) -> None:
        """Free what a slot holds; whoever runs in it starts anew."""
        self._unforkable.pop(slot, None)
        self.cache.close(slot)
        self.cache.open(slot)
        self.operations.append(Clear(slot))
        self._discard_dropped()

    def evict(self, spare: int | None = None) -> bool:
        """Archive and free an idle slot, never `spare`. Returns whether there was one."""
        slot = self._victim(spare)
        if slot is None:
            return False
        self.store(slot)
        self.clear(slot)
        return True

    def _victim(self, spare: int | None = None) -> int | None:
        """The idle slot that was used least recently of those whose cells nobody else holds.

        Where idle slots hold cells only together, the first of them goes all the same.
        """
        idle = [slot for slot in self._idle if slot != spare]
        alone = (slot for slot in idle if self.cache.private(slot))
        slot = next(alone, None)
        return idle[0] if slot is None and idle and self.cache.held_only_by(idle) else slot

    def keep_state(self, slot: int, checkpoint: Checkpoint) -> None:
        """Note a copy of the state at a slot's tip. The least recently used copies go when there are too many bytes."""
        self.cache.keep(slot, checkpoint)
        self._checkpoints[checkpoint.handle] = checkpoint
        self._discard_dropped()
        surplus = sum(kept.size for kept in self._checkpoints.values()) - self._state_bytes
        oldest = []
        for kept in self._checkpoints.values():
            if surplus <= 0:
                break
            oldest.append(kept)
            surplus -= kept.size
        if oldest:
            self.cache.drop(oldest)
            self._discard_dropped()

    def take_operations(self) -> list[Operation]:
        """Return what the backend must do before the next batch, and forget it."""
        operations, self.operations = self.operations, []
        return operations

    def check(self, running: set[int]) -> None:
        """Assert what must hold between two steps. For tests."""
        self.cache.check_integrity()
        assert sorted([*self._free, *self._idle, *running]) == list(range(self._slots))
        assert all(slot in self.cache for slot in [*self._idle, *running])
        assert all(slot not in self.cache for slot in self._free)
        assert 0 <= self.cells_idle <= self.cache.cells_used <= self.cells
        assert set(self._checkpoints) == self.cache.handles
        assert self._not_stored | self._not_storable <= set(self._idle)
        assert self.host_store is None or self.host_store.cells <= self.host_store.most_cells

    def _unused(self, spare: int | None = None) -> int | None:
        """A free slot, if need be an idle one that is cleared: of the older half the one that is cheapest to lose."""
        if not self._free:
            older = [slot for slot in self._idle if slot != spare][: len(self._idle) // 2 + 1]
            if not older:
                return None
            cheapest = min(older, key=self.cache.private)
            self.store(cheapest)
            self.clear(cheapest)
        return self._free.pop()

    def _touch(self, match: Match) -> None:
        if match.slot in self._idle:
            self._idle.move_to_end(match.slot)
        if match.checkpoint is not None:
            self._checkpoints.move_to_end(match.checkpoint.handle)

    def _discard_dropped(self) -> None:
        for checkpoint in self.cache.take_dropped():
            self._checkpoints.pop(checkpoint.handle, None)
            self.operations.append(Discard(checkpoint))

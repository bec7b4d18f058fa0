"""Requests, cancels and steps in any order: nothing leaks, and the cache is what the scheduler says."""

from itertools import count as counting

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from localrouter.engine.kv_cache.host_store import HostStore
from localrouter.engine.kv_cache.operations import Clear, Discard, Forget, Fork, Operation, Restore, Store
from localrouter.engine.kv_cache.radix_tree import Checkpoint
from localrouter.engine.messages import Sampling
from localrouter.engine.scheduling.limits import Limits
from localrouter.engine.scheduling.scheduler import Scheduler
from localrouter.engine.scheduling.sequence import Sequence


class SchedulerMachine(RuleBasedStateMachine):
    """Requests come, are cancelled, and steps are taken in any order; the cache is modelled beside the scheduler."""

    CELLS = 120
    LIMITS = Limits(cells=CELLS, slots=5, running=3, prefill_rows=16, tile=4)

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(self.LIMITS)
        self.alive: dict[int, Sequence] = {}
        self.ends: dict[int, int] = {}
        self.cache: dict[int, list[tuple[int, int]]] = {slot: [] for slot in range(self.LIMITS.slots)}
        """The tokens of each slot, and the numbers of the cells they are in."""
        self.states: dict[int, list[tuple[int, int]]] = {}
        """What was in a slot when a copy of its state was kept."""
        self.copies: dict[int, tuple[int, list[int]]] = {}
        """Copies of cells: the position of the first, and their tokens."""
        self.numbers = counting()
        self.number = 0

    @rule(prompt=st.lists(st.integers(0, 1), min_size=1, max_size=60), max_tokens=st.integers(1, 60))
    def arrive(self, prompt: list[int], max_tokens: int) -> None:
        self._add(prompt, max_tokens)

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), more=st.integers(1, 20))
    def arrive_alike(self, data: st.DataObject, more: int) -> None:
        other = self.alive[data.draw(st.sampled_from(sorted(self.alive)))]
        self._add([*other.tokens[: data.draw(st.integers(0, 40))], *[5] * more], 5)

    def _add(self, prompt: list[int], max_tokens: int) -> None:
        self.number += 1
        stops = {len(prompt) // 2} if self.LIMITS.recurrent else set()
        self.alive[self.number] = Sequence(self.number, prompt, max_tokens, Sampling(), chunk_boundaries=stops)
        self.scheduler.add(self.alive[self.number])

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), keep=st.booleans())
    def cancel(self, data: st.DataObject, keep: bool) -> None:
        self._end(data.draw(st.sampled_from(sorted(self.alive))), keep=keep)

    @rule()
    def preempt(self) -> None:
        self.scheduler.preempt_newest()

    @rule()
    def rest(self) -> None:
        if self.scheduler.is_idle:
            self.scheduler.slots.offload_next()
            self._change()

    @rule(fails=st.integers(0, 9))
    def compute(self, fails: int = 9) -> None:
        self.scheduler.admit()
        self._change(fails == 0)
        batch = self.scheduler.schedule()
        self._change()
        for position, slot, token in zip(batch.positions, batch.slots, batch.tokens, strict=True):
            assert position == len(self.cache[slot])
            self.cache[slot].append((token, next(self.numbers)))
        assert self._cells_used() <= self.CELLS
        assert bool(batch) == bool(self.alive)
        for each in self.scheduler.computed(batch):
            handle = next(self.numbers)
            self.states[handle] = list(self.cache[each.slot])
            self.scheduler.keep_state(each, Checkpoint(handle, 1))
        for each in batch.sampled:
            each.tokens.append(0)
            if each.completion_tokens == each.max_tokens:
                self._end(each.id)

    @invariant()
    def nothing_leaks(self) -> None:
        self.scheduler.check()
        for each in self.scheduler.running:
            assert [token for token, _ in self._cells(each.slot)] == each.tokens[: each.computed]

    def teardown(self) -> None:
        while not self.scheduler.is_idle:
            self.compute()
        assert self.ends == dict.fromkeys(range(1, self.number + 1), 1)
        assert self.scheduler.cells_used == 0
        while self.scheduler.slots.evict():
            pass
        host_store = self.scheduler.slots.host_store
        for handle in host_store.handles if host_store else ():
            self.scheduler.slots.forget(handle)
        self._change()
        assert not any(self.cache.values())
        assert not self.states
        assert not self.copies

    def _cells(self, slot: int) -> list[tuple[int, int]]:
        """What a slot holds when the changes that wait are made."""
        cells = self.cache[slot]
        for change in self.scheduler.slots.operations:
            if isinstance(change, Clear) and change.slot == slot:
                cells = []
        return cells

    def _end(self, number: int, *, keep: bool = True) -> None:
        assert self.scheduler.end(number, keep=keep) is self.alive.pop(number)
        self.ends[number] = self.ends.get(number, 0) + 1

    def _change(self, fails: bool = False) -> None:
        while operations := self.scheduler.slots.take_operations():
            for change in operations:
                self._make(change, fails)

    def _make(self, change: Operation, fails: bool) -> None:
        match change:
            case Clear(slot):
                self.cache[slot] = []
            case Discard(checkpoint):
                del self.states[checkpoint.handle]
            case Forget(handle):
                self.copies.pop(handle, None)
            case Fork(_, slot) if fails:
                assert not self.cache[slot]
                self.scheduler.start_anew(slot)
            case Fork(source, slot, count, checkpoint):
                assert not self.cache[slot]
                self.cache[slot] = self.cache[source][:count]
                assert len(self.cache[slot]) == count
                if checkpoint:
                    assert self.states[checkpoint.handle] == self.cache[slot]
                elif self.LIMITS.recurrent:
                    assert count == len(self.cache[source])
            case Store(handle, slot, start, end):
                assert len(self.cache[slot]) >= end
                self.copies[handle] = start, [token for token, _ in self.cache[slot][start:end]]
            case Restore():
                self._restore(change, fails)

    def _restore(self, change: Restore, fails: bool) -> None:
        slot, start = change.slot, change.start
        if self.scheduler.slots.cache.length(slot) < change.end:
            return  # what should come before was not brought back
        if fails:
            self.scheduler.slots.forget(change.handle)
            self.scheduler.start_anew(slot)
            return
        assert len(self.cache[slot]) == start
        first, tokens = self.copies[change.handle]
        assert self._cells_used() + len(tokens) <= self.CELLS
        self.cache[slot] += [(token, next(self.numbers)) for token in tokens[start - first : change.end - first]]

    def _cells_used(self) -> int:
        return len({cell for held in self.cache.values() for _, cell in held})


class RecurrentMachine(SchedulerMachine):
    LIMITS = Limits(
        cells=SchedulerMachine.CELLS, slots=5, running=3, prefill_rows=16, tile=4, recurrent=True, state_bytes=3
    )


class ArchiveMachine(SchedulerMachine):
    LIMITS = Limits(cells=SchedulerMachine.CELLS, slots=5, running=3, prefill_rows=16, tile=4, idle_cells=0)

    def __init__(self) -> None:
        super().__init__()
        self.scheduler.slots.host_store = HostStore(100, worth=4)

    @invariant()
    def every_copy_is_known(self) -> None:
        host_store = self.scheduler.slots.host_store
        waiting = [change.handle for change in self.scheduler.slots.operations if isinstance(change, Store | Forget)]
        assert host_store
        assert host_store.handles ^ set(self.copies) <= set(waiting)


TestScheduler = SchedulerMachine.TestCase
TestArchivingScheduler = ArchiveMachine.TestCase
TestRecurrentScheduler = RecurrentMachine.TestCase

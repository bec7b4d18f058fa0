"""Requests, cancellations and steps in any order: nothing leaks, and the backend's cache is as it is recorded."""

from itertools import count as counting

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from localrouter.engine.generation_request import Sampling
from localrouter.engine.kv_cache.checkpoints import Checkpoint
from localrouter.engine.kv_cache.host_store import HostStore
from localrouter.engine.kv_cache.kv_cache import KvCache
from localrouter.engine.kv_cache.operations import Clear, Forget, Store
from localrouter.engine.scheduling.batch import Batch
from localrouter.engine.scheduling.engine_limits import EngineLimits
from localrouter.engine.scheduling.scheduler import Scheduler
from localrouter.engine.scheduling.sequence import Sequence


class ModelledCache:
    """The cache of a backend as lists of tokens and numbered cells. Forks and restores fail while `fails` is set."""

    def __init__(self, limits: EngineLimits) -> None:
        self.limits = limits
        self.fails = False
        self.slots: dict[int, list[tuple[int, int]]] = {slot: [] for slot in range(limits.slots)}
        """Tokens of each slot, with the numbers of their cells."""
        self.states: dict[int, list[tuple[int, int]]] = {}
        """What a slot held when a copy of its state was made, by handle."""
        self.copies: dict[int, tuple[int, list[int]]] = {}
        """Copies of cells by handle: the position of the first, and their tokens."""
        self._numbers = counting()

    @property
    def cells_used(self) -> int:
        """Number of cells that hold a token."""
        return len({cell for held in self.slots.values() for _, cell in held})

    def compute(self, slot: int, token: int) -> None:
        """Append a token to a slot, in a new cell."""
        self.slots[slot].append((token, next(self._numbers)))
        assert self.cells_used <= self.limits.cells

    def keep_state(self, slot: int) -> Checkpoint:
        """Copy the state of a slot."""
        handle = next(self._numbers)
        self.states[handle] = list(self.slots[slot])
        return Checkpoint(handle, 1)

    def clear(self, slot: int) -> None:
        """Free a slot."""
        self.slots[slot] = []

    def fork(self, source: int, slot: int, count: int, checkpoint: Checkpoint | None) -> bool:
        """Share cells, or fail."""
        assert not self.slots[slot]
        if self.fails:
            return False
        self.slots[slot] = self.slots[source][:count]
        assert len(self.slots[slot]) == count
        if checkpoint:
            assert self.states[checkpoint.handle] == self.slots[slot]
        elif self.limits.recurrent:
            assert count == len(self.slots[source])
        return True

    def discard_state(self, checkpoint: Checkpoint) -> None:
        """Free the copy of a state."""
        del self.states[checkpoint.handle]

    def store(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Copy cells."""
        assert len(self.slots[slot]) >= end
        self.copies[handle] = start, [token for token, _ in self.slots[slot][start:end]]
        return True

    def restore(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Compute the tokens of a copy in new cells, or fail."""
        if self.fails:
            return False
        assert len(self.slots[slot]) == start
        first, tokens = self.copies[handle]
        assert self.cells_used + len(tokens) <= self.limits.cells
        for token in tokens[start - first : end - first]:
            self.compute(slot, token)
        return True

    def forget(self, handle: int) -> None:
        """Free a copy of cells."""
        self.copies.pop(handle, None)


class SchedulerMachine(RuleBasedStateMachine):
    """Submits and cancels requests and computes steps in any order, beside a model of the backend's cache."""

    CELLS = 120
    LIMITS = EngineLimits(cells=CELLS, slots=5, running=3, outputs=8, prefill_rows=16, tile=4)

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(self.LIMITS)
        self.cache = ModelledCache(self.LIMITS)
        self.alive: dict[int, Sequence] = {}
        self.ends: dict[int, int] = {}
        self.number = 0

    @rule(prompt=st.lists(st.integers(0, 1), min_size=1, max_size=60), max_tokens=st.integers(1, 60))
    def arrive(self, prompt: list[int], max_tokens: int) -> None:
        self._add(prompt, max_tokens)

    @rule(prompt=st.lists(st.integers(0, 1), min_size=1, max_size=60), max_tokens=st.integers(0, 60))
    def arrive_to_be_scored(self, prompt: list[int], max_tokens: int) -> None:
        self._add(prompt, max_tokens, prompt_logprobs=0)

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), more=st.integers(1, 20), prompt_logprobs=st.sampled_from([None, None, 0]))
    def arrive_with_shared_prefix(self, data: st.DataObject, more: int, prompt_logprobs: int | None) -> None:
        other = self.alive[data.draw(st.sampled_from(sorted(self.alive)))]
        self._add([*other.tokens[: data.draw(st.integers(0, 40))], *[5] * more], 5, prompt_logprobs)

    def _add(self, prompt: list[int], max_tokens: int, prompt_logprobs: int | None = None) -> None:
        self.number += 1
        boundaries = {len(prompt) // 2} if self.LIMITS.recurrent else set()
        self.alive[self.number] = Sequence(
            self.number,
            prompt,
            max_tokens,
            Sampling(),
            chunk_boundaries=boundaries,
            prompt_logprobs=prompt_logprobs,
        )
        self.scheduler.add(self.alive[self.number])

    @precondition(lambda self: self.alive)
    @rule(data=st.data(), keep=st.booleans())
    def cancel(self, data: st.DataObject, keep: bool) -> None:
        self._end(data.draw(st.sampled_from(sorted(self.alive))), keep=keep)

    @rule()
    def preempt(self) -> None:
        self.scheduler.preempt_newest()

    @rule()
    def run_idle_work(self) -> None:
        if self.scheduler.is_idle:
            self.scheduler.kv_cache.offload_next()
            self.scheduler.apply(self.cache)

    @rule(fails=st.integers(0, 9))
    def compute(self, fails: int = 9) -> None:
        self.scheduler.admit()
        self.cache.fails = fails == 0
        self.scheduler.apply(self.cache)
        self.cache.fails = False
        batch = self.scheduler.schedule()
        self.scheduler.apply(self.cache)
        for position, slot, token in zip(batch.positions, batch.slots, batch.tokens, strict=True):
            assert position == len(self.cache.slots[slot])
            self.cache.compute(slot, token)
        assert bool(batch) == bool(self.alive)
        for each in self.scheduler.commit(batch):
            self.scheduler.add_checkpoint(each, self.cache.keep_state(each.slot))
        self._score(batch)
        for each in batch.sampled:
            assert each.prompt_scores is None or each.prompt_scores.is_complete
            if each.max_tokens:
                each.tokens.append(0)
            if each.completion_tokens == each.max_tokens:
                self._end(each.id)

    def _score(self, batch: Batch) -> None:
        """Report prompt tokens, each once and in order, from the row before each of them."""
        assert len(batch.outputs) <= self.LIMITS.max_outputs
        for sequence, tokens, output in batch.scored:
            assert sequence.prompt_scores is not None
            assert sequence.prompt_scores.reported == tokens.start
            rows = batch.outputs[output : output + len([token for token in tokens if token])]
            assert [batch.positions[row] + 1 for row in rows] == [token for token in tokens if token]
            assert all(batch.slots[row] == sequence.slot for row in rows)
            sequence.prompt_scores.reported = tokens.stop

    @invariant()
    def nothing_leaks(self) -> None:
        self.scheduler.check()
        for each in self.scheduler.running:
            assert self._tokens(each.slot) == each.tokens[: each.computed]

    def teardown(self) -> None:
        while not self.scheduler.is_idle:
            self.compute()
        assert self.ends == dict.fromkeys(range(1, self.number + 1), 1)
        assert self.scheduler.kv_cache.cells_running == 0
        while self.scheduler.kv_cache.evict():
            pass
        self.scheduler.kv_cache.drop_offloaded()
        self.scheduler.apply(self.cache)
        assert not any(self.cache.slots.values())
        assert not self.cache.states
        assert not self.cache.copies

    def _tokens(self, slot: int) -> list[int]:
        """Return the tokens of a slot after the pending operations."""
        is_cleared = Clear(slot) in self.scheduler.kv_cache.pending
        return [] if is_cleared else [token for token, _ in self.cache.slots[slot]]

    def _end(self, number: int, *, keep: bool = True) -> None:
        assert self.scheduler.end(number, keep=keep) is self.alive.pop(number)
        self.ends[number] = self.ends.get(number, 0) + 1


class RecurrentMachine(SchedulerMachine):
    LIMITS = EngineLimits(
        cells=SchedulerMachine.CELLS, slots=5, running=3, prefill_rows=16, tile=4, recurrent=True, state_bytes=3
    )


class OffloadingMachine(SchedulerMachine):
    LIMITS = EngineLimits(cells=SchedulerMachine.CELLS, slots=5, running=3, prefill_rows=16, tile=4, idle_cells=0)

    def __init__(self) -> None:
        super().__init__()
        self.scheduler.kv_cache = KvCache(
            slots=self.LIMITS.slots,
            cells=self.LIMITS.cells,
            idle_cells=self.LIMITS.idle_cells,
            host_store=HostStore(100, min_tokens=4),
        )

    @invariant()
    def every_copy_is_recorded(self) -> None:
        cache = self.scheduler.kv_cache
        pending = {operation.handle for operation in cache.pending if isinstance(operation, Store | Forget)}
        assert cache.offloaded_handles ^ set(self.cache.copies) <= pending


TestScheduler = SchedulerMachine.TestCase
TestOffloadingScheduler = OffloadingMachine.TestCase
TestRecurrentScheduler = RecurrentMachine.TestCase

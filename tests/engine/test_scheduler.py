"""The scheduler: what a step computes, and that nothing leaks whatever happens between steps."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from localrouter.engine.messages import Sampling
from localrouter.engine.scheduler import Batch, Limits, Scheduler
from localrouter.engine.sequence import Sequence, State


def sequence(number: int, prompt: int, max_tokens: int = 4) -> Sequence:
    return Sequence(number, list(range(prompt)), max_tokens, Sampling())


def step(scheduler: Scheduler) -> Batch:
    """Compute one step in which every sampled token is 7, and end what has all its tokens."""
    batch = scheduler.schedule()
    scheduler.take_vacated()
    scheduler.computed(batch)
    for each in batch.sampled:
        each.tokens.append(7)
        if each.completion_tokens == each.max_tokens:
            scheduler.end(each.id)
    scheduler.check()
    return batch


def rows(batch: Batch) -> dict[int, int]:
    return {each.id: count for each, count in batch.chunks}


def test_a_prompt_is_read_in_one_step_when_it_fits_a_chunk() -> None:
    scheduler = Scheduler(Limits(cells=100, slots=4))
    scheduler.add(sequence(1, 10))

    batch = step(scheduler)

    assert batch.tokens == batch.positions == list(range(10))
    assert batch.outputs == [9]


def test_only_the_last_chunk_of_a_prompt_has_logits() -> None:
    scheduler = Scheduler(Limits(cells=100, slots=4, prefill_rows=8))
    scheduler.add(sequence(1, 20))

    batches = [step(scheduler) for _ in range(3)]

    assert [len(batch) for batch in batches] == [8, 8, 4]
    assert [batch.outputs for batch in batches] == [[], [], [3]]


def test_running_streams_get_a_row_in_every_step_while_a_long_prompt_is_read() -> None:
    scheduler = Scheduler(Limits(cells=1000, slots=4, shared_rows=16))
    scheduler.add(sequence(1, 5, max_tokens=50))
    step(scheduler)
    scheduler.add(sequence(2, 100))

    batches = [step(scheduler) for _ in range(7)]

    assert all(rows(batch)[1] == 1 for batch in batches)
    assert [rows(batch)[2] for batch in batches] == [16] * 6 + [4]


def test_prompts_share_a_step_unless_the_model_is_recurrent() -> None:
    together, apart = (Scheduler(Limits(cells=100, slots=4, one_prompt=one)) for one in (False, True))
    for scheduler in (together, apart):
        scheduler.add(sequence(1, 5))
        scheduler.add(sequence(2, 5))

    assert rows(step(together)) == {1: 5, 2: 5}
    assert rows(step(apart)) == {1: 5}


def test_a_request_waits_for_a_free_slot() -> None:
    scheduler = Scheduler(Limits(cells=100, slots=1))
    scheduler.add(sequence(1, 5, max_tokens=2))
    scheduler.add(sequence(2, 5))

    assert [set(rows(step(scheduler))) for _ in range(3)] == [{1}, {1}, {2}]


def test_a_request_is_admitted_only_when_its_prompt_and_some_growth_fit() -> None:
    scheduler = Scheduler(Limits(cells=100, slots=4))
    scheduler.add(sequence(1, 40, max_tokens=2))
    scheduler.add(sequence(2, 40))

    assert set(rows(step(scheduler))) == {1}
    assert len(scheduler.waiting) == 1


def test_the_youngest_is_set_back_when_cells_run_out_and_loses_no_token() -> None:
    scheduler = Scheduler(Limits(cells=100, slots=4))
    old, young = sequence(1, 20, max_tokens=70), sequence(2, 20, max_tokens=60)
    scheduler.add(old)
    scheduler.add(young)
    while young.state is not State.WAITING or not young.completion_tokens:
        step(scheduler)
    sampled = young.completion_tokens

    while old.state is not State.ENDED:
        step(scheduler)
    resumed = step(scheduler)

    assert rows(resumed) == {2: 20 + sampled}
    assert young.completion_tokens == sampled + 1


def test_ending_a_waiting_sequence_frees_its_place_in_the_queue() -> None:
    scheduler = Scheduler(Limits(cells=100, slots=1))
    scheduler.add(sequence(1, 5))
    step(scheduler)
    scheduler.add(sequence(2, 5))

    assert scheduler.end(2) is not None
    assert not scheduler.waiting


def test_ending_an_unknown_sequence_does_nothing() -> None:
    assert Scheduler(Limits(cells=10, slots=1)).end(1) is None


def test_a_vacated_slot_is_told_to_the_backend_before_it_is_used_again() -> None:
    scheduler = Scheduler(Limits(cells=100, slots=1))
    scheduler.add(sequence(1, 5))
    step(scheduler)
    scheduler.end(1)
    scheduler.add(sequence(2, 5))

    scheduler.schedule()

    assert scheduler.take_vacated() == [0]


class SchedulerMachine(RuleBasedStateMachine):
    """Requests come, are cancelled, and steps are taken in any order; the cache is modelled beside the scheduler."""

    CELLS = 120

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(Limits(cells=self.CELLS, slots=3, prefill_rows=16, shared_rows=4))
        self.alive: dict[int, Sequence] = {}
        self.ends: dict[int, int] = {}
        self.cache: dict[int, int] = {}
        self.number = 0

    @rule(prompt=st.integers(1, 60), max_tokens=st.integers(1, 60))
    def arrive(self, prompt: int, max_tokens: int) -> None:
        self.number += 1
        self.alive[self.number] = sequence(self.number, prompt, max_tokens)
        self.scheduler.add(self.alive[self.number])

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self._end(data.draw(st.sampled_from(sorted(self.alive))))
        self._clear()

    @rule()
    def set_back(self) -> None:
        self.scheduler.set_back_youngest()
        self._clear()

    @rule()
    def compute(self) -> None:
        batch = self.scheduler.schedule()
        self._clear()
        for position, slot in zip(batch.positions, batch.slots, strict=True):
            assert position == self.cache.get(slot, 0)
            self.cache[slot] = position + 1
        assert sum(self.cache.values()) <= self.CELLS
        assert bool(batch) == bool(self.alive)
        self.scheduler.computed(batch)
        for each in batch.sampled:
            each.tokens.append(0)
            if each.completion_tokens == each.max_tokens:
                self._end(each.id)
        self._clear()

    @invariant()
    def nothing_leaks(self) -> None:
        self.scheduler.check()
        assert {each.slot: each.computed for each in self.scheduler.running if each.computed} == self.cache

    def teardown(self) -> None:
        while not self.scheduler.is_idle:
            self.compute()
        assert self.ends == dict.fromkeys(range(1, self.number + 1), 1)
        assert self.scheduler.cells_used == 0
        assert not self.cache

    def _end(self, number: int) -> None:
        assert self.scheduler.end(number) is self.alive.pop(number)
        self.ends[number] = self.ends.get(number, 0) + 1

    def _clear(self) -> None:
        for slot in self.scheduler.take_vacated():
            self.cache.pop(slot, None)


TestSchedulerMachine = SchedulerMachine.TestCase

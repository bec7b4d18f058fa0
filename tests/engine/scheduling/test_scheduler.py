"""The scheduler: in which order requests start, what they share, and what is evicted or preempted."""

from cache_backend import FakeCacheBackend
from scheduler_steps import rows, sequence, step, with_prefix

from localrouter.engine.generation_request import Sampling
from localrouter.engine.kv_cache.host_store import MIN_TOKENS
from localrouter.engine.scheduling.engine_limits import EngineLimits
from localrouter.engine.scheduling.scheduler import Scheduler
from localrouter.engine.scheduling.sequence import Sequence, SequenceState


def test_a_request_waits_for_a_free_slot() -> None:
    scheduler = Scheduler(EngineLimits(cells=100, slots=1))
    scheduler.add(sequence(1, 5, max_tokens=2))
    scheduler.add(sequence(2, 5))

    assert [set(rows(step(scheduler))) for _ in range(3)] == [{1}, {1}, {2}]


def test_a_shared_prefix_in_the_only_slot_is_evicted_for_a_prompt_that_shares_it() -> None:
    scheduler = Scheduler(EngineLimits(cells=100, slots=1))
    scheduler.add(with_prefix(1, 20, 10))
    step(scheduler)
    scheduler.add(with_prefix(2, 20, 10))

    assert rows(step(scheduler)) == {2: 30}


def test_a_request_is_admitted_only_when_its_prompt_and_some_growth_fit() -> None:
    scheduler = Scheduler(EngineLimits(cells=100, slots=4))
    scheduler.add(sequence(1, 40, max_tokens=2))
    scheduler.add(sequence(2, 40))

    assert set(rows(step(scheduler))) == {1}
    assert len(scheduler.waiting) == 1


def test_the_newest_sequence_is_preempted_when_cells_run_out_and_loses_no_token() -> None:
    scheduler = Scheduler(EngineLimits(cells=100, slots=4))
    old, new = sequence(1, 20, max_tokens=70), sequence(2, 20, max_tokens=60)
    scheduler.add(old)
    scheduler.add(new)
    while new.state is not SequenceState.WAITING or not new.completion_tokens:
        step(scheduler)
    sampled = new.completion_tokens

    while old.state is not SequenceState.ENDED:
        step(scheduler)
    resumed = step(scheduler)

    assert rows(resumed) == {2: 20 + sampled}
    assert new.completion_tokens == sampled + 1


def test_ending_a_waiting_sequence_removes_it_from_the_queue() -> None:
    scheduler = Scheduler(EngineLimits(cells=100, slots=1))
    scheduler.add(sequence(1, 5))
    step(scheduler)
    scheduler.add(sequence(2, 5))

    assert scheduler.end(2) is not None
    assert not scheduler.waiting


def test_ending_an_unknown_sequence_does_nothing() -> None:
    assert Scheduler(EngineLimits(cells=10, slots=1)).end(1) is None


def test_a_prompt_reuses_the_prefix_of_a_sequence_that_has_ended() -> None:
    scheduler = Scheduler(EngineLimits(cells=1000, slots=4))
    scheduler.add(with_prefix(1, 50, 10))
    step(scheduler)
    second = with_prefix(2, 50, 10)
    scheduler.add(second)

    assert rows(step(scheduler)) == {2: 10}
    assert second.usage.cached_tokens == 50


def test_tokens_that_a_prompt_computed_before_its_preemption_are_not_counted_as_cached() -> None:
    scheduler = Scheduler(EngineLimits(cells=1000, slots=4, prefill_rows=128, host_store_cells=1000))
    scheduler.add(sequence(1, 10, max_tokens=50))
    step(scheduler)
    new = sequence(2, 500)
    scheduler.add(new)
    while new.computed <= MIN_TOKENS:
        step(scheduler)
    scheduler.preempt_newest()

    step(scheduler)

    assert MIN_TOKENS < new.computed < 500
    assert new.usage.cached_tokens == 0


def test_a_sequence_preempted_before_its_first_step_counts_the_tokens_cached_when_it_starts_again() -> None:
    scheduler = Scheduler(EngineLimits(cells=1000, slots=4))
    for other in (with_prefix(1, 50, 10, max_tokens=9), with_prefix(3, 49, 10, max_tokens=9)):
        scheduler.add(other)
        step(scheduler)
    new = with_prefix(2, 50, 10)
    scheduler.add(new)
    scheduler.admit()
    scheduler.apply(FakeCacheBackend("fork"))
    assert new.usage.cached_tokens == 0
    scheduler.preempt_newest()

    step(scheduler)

    assert new.usage.cached_tokens == 49


def test_prompts_with_a_prefix_in_prefill_wait_for_it_and_share_it() -> None:
    scheduler = Scheduler(EngineLimits(cells=1000, slots=4, prefill_rows=64))
    for number in (1, 2, 3):
        scheduler.add(with_prefix(number, 100, 5))

    batches = [step(scheduler) for _ in range(3)]

    assert [rows(batch) for batch in batches] == [{1: 41}, {1: 64}, {2: 5, 3: 5}]


def test_a_prompt_with_another_prefix_does_not_wait_behind_those_that_wait_for_a_leader() -> None:
    scheduler = Scheduler(EngineLimits(cells=1000, slots=4, prefill_rows=64))
    for other in (with_prefix(1, 100, 5), with_prefix(2, 100, 5), sequence(3, 10)):
        scheduler.add(other)

    assert set(rows(step(scheduler))) == {1, 3}


def test_when_a_leader_is_cancelled_the_next_sequence_takes_its_place() -> None:
    scheduler = Scheduler(EngineLimits(cells=1000, slots=4, prefill_rows=64))
    for number in (1, 2, 3):
        scheduler.add(with_prefix(number, 100, 5))
    step(scheduler)

    scheduler.end(1)

    assert [rows(step(scheduler)) for _ in range(2)] == [{2: 64}, {3: 5}]


def test_idle_cells_are_evicted_before_any_sequence_is_preempted() -> None:
    scheduler = Scheduler(EngineLimits(cells=100, slots=4))
    scheduler.add(sequence(1, 60, max_tokens=1))
    step(scheduler)
    assert scheduler.kv_cache.cells_idle == 60

    scheduler.add(sequence(2, 60, max_tokens=1))

    assert rows(step(scheduler)) == {2: 60}
    assert not scheduler.waiting


def test_no_idle_slot_is_evicted_for_a_prompt_that_would_not_fit_even_then() -> None:
    scheduler = Scheduler(EngineLimits(cells=300, slots=4))
    scheduler.add(sequence(1, 60, max_tokens=1))
    step(scheduler)
    scheduler.add(sequence(2, 100, max_tokens=90))
    step(scheduler)

    scheduler.add(sequence(3, 250, max_tokens=1))
    step(scheduler)

    assert scheduler.kv_cache.cells_idle == 60
    assert len(scheduler.waiting) == 1


def test_the_cached_prefix_of_a_waiting_prompt_is_not_evicted_for_it() -> None:
    scheduler = Scheduler(EngineLimits(cells=300, slots=4))
    first, turn = sequence(1, 180, max_tokens=1), sequence(1, 190, max_tokens=1)
    scheduler.add(first)
    step(scheduler)
    scheduler.add(sequence(2, 80, max_tokens=20))
    step(scheduler)
    scheduler.add(turn)

    while turn.state is not SequenceState.ENDED:
        step(scheduler)

    assert turn.usage.cached_tokens == 180


def test_a_recurrent_prompt_has_a_checkpoint_at_every_chunk_boundary() -> None:
    scheduler = Scheduler(EngineLimits(cells=1000, slots=4, recurrent=True, state_bytes=10))
    scheduler.add(Sequence(1, list(range(100)), 1, Sampling(), chunk_boundaries={30, 80}))

    assert [len(step(scheduler)) for _ in range(3)] == [30, 50, 20]
    assert len(scheduler.kv_cache.checkpoint_handles) == 2

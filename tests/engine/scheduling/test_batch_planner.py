"""The batch planner: which rows a step computes, and in which order prompts get them."""

from scheduler_steps import rows, sequence, step

from localrouter.engine.scheduling.engine_limits import EngineLimits
from localrouter.engine.scheduling.scheduler import Scheduler


def test_a_prompt_that_fits_into_a_chunk_is_computed_in_one_step() -> None:
    scheduler = Scheduler(EngineLimits(cells=100, slots=4))
    scheduler.add(sequence(1, 10))

    batch = step(scheduler)

    assert batch.positions == list(range(10))
    assert batch.tokens == list(range(1000, 1010))
    assert batch.outputs == [9]


def test_only_the_last_chunk_of_a_prompt_has_logits() -> None:
    scheduler = Scheduler(EngineLimits(cells=100, slots=4, prefill_rows=8))
    scheduler.add(sequence(1, 20))

    batches = [step(scheduler) for _ in range(3)]

    assert [len(batch) for batch in batches] == [8, 8, 4]
    assert [batch.outputs for batch in batches] == [[], [], [3]]


def test_the_incomplete_tile_of_a_long_prompt_is_computed_first() -> None:
    scheduler = Scheduler(EngineLimits(cells=1000, slots=4, prefill_rows=128))
    scheduler.add(sequence(1, 300))

    assert [len(step(scheduler)) for _ in range(3)] == [108, 128, 64]


def test_running_streams_get_a_row_in_every_step_during_the_prefill_of_a_long_prompt() -> None:
    scheduler = Scheduler(EngineLimits(cells=1000, slots=4, tile=16))
    scheduler.add(sequence(1, 5, max_tokens=50))
    step(scheduler, row_seconds=0.01)
    scheduler.add(sequence(2, 100))

    batches = [step(scheduler, row_seconds=0.01) for _ in range(6)]

    assert all(rows(batch)[1] == 1 for batch in batches)
    assert [rows(batch)[2] for batch in batches] == [15] * 6


def test_prompts_share_a_step_unless_the_model_is_recurrent() -> None:
    together, apart = (Scheduler(EngineLimits(cells=100, slots=4, recurrent=one)) for one in (False, True))
    for scheduler in (together, apart):
        scheduler.add(sequence(1, 5))
        scheduler.add(sequence(2, 5))

    assert rows(step(together)) == {1: 5, 2: 5}
    assert rows(step(apart)) == {1: 5}


def test_short_prompts_overtake_a_long_one_which_still_gets_its_turn() -> None:
    scheduler = Scheduler(EngineLimits(cells=10_000, slots=64, prefill_rows=16))
    scheduler.add(sequence(1, 2000))
    step(scheduler)
    for number in range(2, 10):
        scheduler.add(sequence(number, 16, max_tokens=1))

    orders = [next(iter(rows(step(scheduler)))) for _ in range(8)]

    assert 2 <= orders.count(1) <= 3
    assert len(set(orders)) >= 6


def test_a_step_with_a_short_and_a_long_prompt_takes_no_longer_than_its_budget() -> None:
    """A row takes 1 ms, and 2 us for each cell of its prompt."""
    scheduler = Scheduler(EngineLimits(cells=10_000, slots=8, tile=16), step_seconds=0.3)
    streams, long, short = [sequence(1, 5, 90), sequence(2, 5, 90)], sequence(3, 8000), sequence(4, 20)

    def seconds() -> float:
        scheduler.admit()
        batch = scheduler.schedule()
        took = 0.001 * len(batch) + 2e-6 * sum(count * (each.computed + count) for each, count in batch.chunks)
        scheduler.commit(batch, took)
        for each in batch.sampled:
            each.tokens.append(7)
        return took

    for each in (*streams, long):
        scheduler.add(each)
    while long.computed < 4000:
        seconds()
    scheduler.add(short)

    assert max(seconds() for _ in range(4)) < 0.4
    assert short.is_decoding

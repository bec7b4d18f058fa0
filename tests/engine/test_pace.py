"""The pace: steps take about as long as agreed, on fast machines and on slow ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrouter.engine.pace import Pace


def step(pace: Pace, cost: float, small: float | None = None, *, decoding: int = 1, prompts: int = 1) -> float:
    """Take one step where a row costs so much, and `small` in less than a tile; return its seconds."""
    total = pace.rows(decoding, prompts) + decoding
    seconds = total * (cost if total >= pace.tile or small is None else small)
    pace.took(seconds, decoding=decoding, rows=total - decoding)
    return seconds


@pytest.mark.parametrize("cost", [1e-5, 1e-4, 1e-3, 3e-3])
def test_after_a_few_steps_none_is_longer_than_the_budget(cost: float) -> None:
    pace = Pace(0.2, most=511)

    seconds = [step(pace, cost) for _ in range(10)]

    assert max(seconds[3:]) <= 0.2
    assert min(seconds[3:]) >= min(0.1, 512 * cost)


@pytest.mark.parametrize("decoding", [1, 5, 63, 64, 65, 200])
def test_running_streams_and_prompts_fill_whole_tiles_together(decoding: int) -> None:
    pace = Pace(0.2, most=1000)
    pace.took(0.128, decoding=0, rows=128)

    assert (pace.rows(decoding, 1) + decoding) % 64 == 0


def test_a_tile_that_is_too_long_gives_way_to_fewer_rows() -> None:
    pace = Pace(0.1, most=512)
    assert max(step(pace, 2e-3, 10e-3) for _ in range(10)) == pytest.approx(64 * 2e-3)
    pace = Pace(0.1, most=512)

    seconds = [step(pace, 5e-3, 10e-3) for _ in range(10)]

    assert seconds[0] == pytest.approx(64 * 5e-3)
    assert max(seconds[1:]) <= 16 * 10e-3
    assert max(seconds[3:]) <= 0.1


def test_a_machine_too_slow_for_the_budget_still_goes_on() -> None:
    pace = Pace(0.01, most=512)
    for _ in range(5):
        step(pace, 10.0)

    assert pace.rows(1, 1) == 7


def test_nobody_is_kept_waiting_when_nobody_is_running() -> None:
    pace = Pace(0.1, most=128)
    pace.took(10.0, decoding=1, rows=64)

    assert pace.rows(0, 5) == 128


def test_many_waiting_prompts_get_longer_steps() -> None:
    pace = Pace(0.1, most=512)
    pace.took(0.064, decoding=0, rows=64)

    assert [pace.rows(2, prompts) + 2 for prompts in (1, 2, 4, 8)] == [64, 64, 192, 384]


@given(
    most=st.integers(1, 1000),
    steps=st.lists(st.tuples(st.floats(0, 100), st.integers(0, 300), st.integers(0, 1000)), max_size=20),
)
def test_there_is_always_at_least_one_row_and_never_too_many(most: int, steps: list[tuple[float, int, int]]) -> None:
    pace = Pace(0.1, most=most)
    for seconds, decoding, rows in steps:
        pace.took(seconds, decoding=decoding, rows=rows)
        assert 1 <= pace.rows(decoding, 1) <= most

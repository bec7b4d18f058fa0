"""Threads: chosen from timings alone."""

import pytest

from localrouter.engine.backends.threads import fewest_fast_threads, physical_cores


@pytest.mark.parametrize(
    ("seconds", "threads"),
    [({1: 1.0, 2: 0.9, 4: 0.85}, 1), ({1: 1.0, 2: 0.6, 4: 0.57}, 2), ({1: 1.0, 2: 0.6, 4: 0.3}, 4)],
)
def test_a_thread_that_hardly_helps_is_not_taken(seconds: dict[int, float], threads: int) -> None:
    assert fewest_fast_threads(4, seconds.__getitem__) == threads


def test_the_machine_can_be_asked() -> None:
    assert physical_cores() >= 1

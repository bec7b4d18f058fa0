"""Goals that are met or missed."""

import pytest

from benchmarks.goal import Goal


@pytest.mark.parametrize(
    ("value", "at_least", "met"),
    [(2.5, True, True), (2.4, True, False), (2.6, False, False), (2.5, False, True), (None, True, None)],
)
def test_a_goal_is_met_missed_or_not_measured(value: float | None, at_least: bool, met: bool | None) -> None:
    assert Goal("name", value, 2.5, "times", at_least).is_met is met

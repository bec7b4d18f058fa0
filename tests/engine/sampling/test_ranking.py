"""Ranking finds what a sort would find."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from localrouter.engine.sampling.ranking import FEW, Ranking

Row = NDArray[np.float32]
LEVELS = st.sampled_from([-np.inf, -2.5, 0, 0.5, 1, 3])
"""Few different numbers, so that there are ties everywhere."""


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """Long enough for several columns or not, of many numbers or of few."""
    size = draw(st.sampled_from([1, 5, 127, 128, 129, 1280, 3001]))
    if draw(st.booleans()):
        return np.random.default_rng(draw(st.integers(0, 99))).normal(size=size).astype(np.float32)
    return draw(arrays(np.float32, size, elements=LEVELS))


@given(rows(), st.data())
def test_the_kth_largest_is_the_kth_of_a_sort(row: Row, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(row)))

    assert Ranking(row).kth(k) == np.sort(row)[::-1][k - 1]


@given(rows(), st.data())
def test_numbers_that_reach_a_threshold_are_found_unless_they_are_too_many(row: Row, data: st.DataObject) -> None:
    threshold = row[data.draw(st.integers(0, len(row) - 1))]

    found, expected = Ranking(row).reaching(threshold), np.flatnonzero(row >= threshold)

    assert found is None or found.tolist() == expected.tolist()
    assert found is not None or len(expected) > len(row) // FEW


@given(rows(), st.integers(0, 30))
def test_the_largest_come_in_order_and_the_first_of_equal_ones_first(row: Row, n: int) -> None:
    expected = sorted(range(len(row)), key=lambda place: (-row[place], place))[:n]

    assert Ranking(row).largest(n).tolist() == expected


@pytest.mark.parametrize("size", [1, 200, 1283])
def test_a_nan_anywhere_shows_in_the_highest(size: int) -> None:
    for place in {0, size // 2, size - 1}:
        row = np.zeros(size, np.float32)
        row[place] = np.nan

        assert np.isnan(Ranking(row).highest)

"""Weights of a vocabulary, and the nucleus with and without a sort, follow their definition."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sampling_reference import Row, exact, log_softmax, mass_above

from localrouter.engine.generation_request import Sampling
from localrouter.engine.sampling.distribution import Distribution, nucleus, sample_index


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """Rows of a model: flat or peaked, with ties or without, wherever their highest logit is."""
    generator = np.random.default_rng(draw(st.integers(0, 999)))
    row = generator.normal(0, draw(st.sampled_from([0.5, 3, 10])), draw(st.integers(1, 700)))
    if draw(st.booleans()):
        row = row.round()
    return (row + draw(st.sampled_from([-100, -19, 0, 20, 200]))).astype(np.float32)


temperatures = st.sampled_from([0.05, 0.3, 0.7, 1.0, 1.3, 2.0])


def filled(row: Row, temperature: float, kept: NDArray[np.bool_] | None = None) -> Distribution:
    distribution = Distribution(len(row))
    assert distribution.fill(row, temperature, kept)
    return distribution


@given(rows(), temperatures)
def test_the_weights_are_the_softmax_of_the_tempered_logits(row: Row, temperature: float) -> None:
    distribution = filled(row, temperature)

    assert distribution.weights / distribution.total == pytest.approx(exact(row, Sampling(temperature)), abs=1e-5)


@given(rows(), st.integers(1, 50))
def test_tokens_that_are_not_kept_weigh_nothing(row: Row, top_k: int) -> None:
    top_k = min(top_k, len(row))

    distribution = filled(row, 1, row >= np.sort(row)[-top_k])

    assert distribution.weights / distribution.total == pytest.approx(exact(row, Sampling(top_k=top_k)), abs=1e-5)


@given(rows())
def test_the_log_of_the_total_turns_logits_into_log_probabilities(row: Row) -> None:
    expected = log_softmax(row.astype(np.float64))

    assert row.astype(np.float64) - Distribution(len(row)).log_total(row) == pytest.approx(expected, abs=1e-5)


@given(rows(), temperatures, st.floats(0.001, 0.999))
def test_the_nucleus_is_the_same_by_mass_by_sort_and_by_definition(row: Row, temperature: float, top_p: float) -> None:
    expected = exact(row, Sampling(temperature, top_p))
    assume(np.abs(mass_above(exact(row, Sampling(temperature))) - top_p).min() > 1e-4)
    distribution = filled(row, temperature)
    allowed = top_p * distribution.total

    by_sort = nucleus(distribution.weights, allowed)
    by_mass = np.array([distribution.mass_above(token) < allowed for token in range(len(row))])
    possible = distribution.weights > 0

    assert by_sort / by_sort.sum() == pytest.approx(expected, abs=1e-5)
    assert np.array_equal(by_mass & possible, (expected > 0) & possible)


def test_a_nucleus_of_everything_keeps_everything() -> None:
    weights = np.array([0.1, 0.2, 0.7], np.float32)

    assert nucleus(weights, 2.0).tolist() == weights.tolist()


def test_a_weight_of_zero_is_never_picked_whatever_the_clocks_say() -> None:
    class Clocks(np.random.Generator):
        def standard_exponential(self, size: int) -> NDArray[np.float64]:  # type: ignore[override]
            return np.array(times.pop())

    times = [[0.0, 0.0, 1.0, 2.0, 0.0], [0.0] * 5]
    rng = Clocks(np.random.SFC64(0))

    assert [sample_index(np.array([0, 0, 1, 1, 0], np.float32), rng) for _ in range(2)] == [2, 2]


def test_weights_that_change_a_little_rarely_have_another_winner() -> None:
    """Or else the same seed would say something else whenever rounding differs."""
    rng = np.random.default_rng(4)
    weights = rng.gamma(0.1, size=50_000).astype(np.float32)
    changed = (weights * rng.normal(1, 1e-3, weights.size)).astype(np.float32)
    apart = np.abs(weights / weights.sum() - changed / changed.sum()).sum() / 2

    others = sum(
        sample_index(weights, np.random.default_rng(seed)) != sample_index(changed, np.random.default_rng(seed))
        for seed in range(2000)
    )

    assert others / 2000 < 10 * apart < 0.01

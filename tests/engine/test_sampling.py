"""Sampling: drawn tokens follow the exact distribution, and only the request's own seed decides."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from localrouter.engine.messages import Sampling
from localrouter.engine.sampling import NotFinite, Sampler

Row = NDArray[np.float32]


def exact(row: Row, sampling: Sampling) -> NDArray[np.float64]:
    """Return the distribution as the definition says it, in double precision and with a sort."""
    weights = np.exp((row.astype(np.float64) - row.max()) / sampling.temperature)
    order = np.argsort(-weights, kind="stable")
    before = np.cumsum(weights[order]) - weights[order]
    kept = weights[order][before < sampling.top_p * weights.sum()].min()
    weights[weights < kept] = 0
    return np.asarray(weights / weights.sum())


def draws(row: Row, sampling: Sampling, count: int) -> list[int]:
    sampler, source = Sampler(len(row)), random.Random(7)
    return [sampler.draw(row, sampling, source) for _ in range(count)]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(1.0, 1.0),
        Sampling(0.6, 1.0),
        Sampling(2.0, 1.0),
        Sampling(1.0, 0.95),
        Sampling(0.7, 0.5),
        Sampling(1.3, 0.2),
    ],
)
def test_draws_follow_the_exact_distribution(sampling: Sampling) -> None:
    """Pearson's chi-square over 20,000 draws, tokens expected fewer than 5 times taken together."""
    row = np.random.default_rng(3).normal(0, 2, 1283).astype(np.float32)
    expected = exact(row, sampling) * 20_000
    seen = np.bincount(draws(row, sampling, 20_000), minlength=len(row))
    common = expected >= 5
    pairs = [*zip(seen[common], expected[common], strict=True), (seen[~common].sum(), expected[~common].sum())]

    statistic = sum((s - e) ** 2 / e for s, e in pairs if e)
    degrees = max(sum(e > 0 for _, e in pairs) - 1, 1)

    assert seen[expected == 0].sum() == 0
    assert statistic < degrees + 5 * np.sqrt(2 * degrees)


@pytest.mark.parametrize("offset", [-300, -30, -15, 55, 300])
def test_what_all_logits_have_in_common_changes_nothing(offset: int) -> None:
    row = np.random.default_rng(3).normal(0, 2, 200).astype(np.float32)
    expected = exact(row, Sampling()) * 5000

    seen = np.bincount(draws(row + np.float32(offset), Sampling(), 5000), minlength=200)

    assert (np.abs(seen - expected) < 6 * np.sqrt(expected) + 3).all()


def test_temperature_zero_is_greedy() -> None:
    assert draws(np.array([0, 3, 2.9], np.float32), Sampling(temperature=0), 20) == [1] * 20


def test_top_p_zero_leaves_the_likeliest() -> None:
    assert draws(np.array([0, 3, 2.9], np.float32), Sampling(top_p=0), 20) == [1] * 20


def test_a_top_p_that_drawing_hardly_ever_hits_is_exact_too() -> None:
    row = np.zeros(5000, np.float32)
    row[[17, 4711]] = 1e-3

    assert set(draws(row, Sampling(top_p=1e-6), 50)) == {17, 4711}


def test_a_tiny_temperature_is_greedy_without_a_warning() -> None:
    assert draws(np.array([0, 3, 2.9], np.float32), Sampling(temperature=1e-300), 5) == [1] * 5


def test_tokens_without_probability_are_never_drawn() -> None:
    row = np.full(1000, -np.inf, np.float32)
    row[[5, 999]] = 0

    assert set(draws(row, Sampling(), 200)) == {5, 999}


def test_the_same_seed_draws_the_same_whatever_the_neighbours_draw() -> None:
    row = np.random.default_rng(1).normal(size=500).astype(np.float32)
    sampler, alone, together = Sampler(500), random.Random(5), random.Random(5)
    others = random.Random(6)

    first = [sampler.sample(row[None], [(Sampling(), alone)])[0] for _ in range(20)]
    second = [sampler.sample(np.stack([row, row]), [(Sampling(1.5), others), (Sampling(), together)])[1] for _ in first]

    assert first == second


@pytest.mark.parametrize("row", [[np.nan, 1, 2], [-np.inf, -np.inf], [np.inf, 0]])
def test_logits_that_are_not_finite_are_told_apart(row: list[float]) -> None:
    with pytest.raises(NotFinite):
        Sampler(len(row)).draw(np.array(row, np.float32), Sampling(), random.Random(1))


def test_one_bad_row_does_not_spoil_the_others() -> None:
    logits = np.array([[np.nan, 0], [0, 9]], np.float32)

    tokens = Sampler(2).sample(logits, [(Sampling(temperature=0), random.Random(1))] * 2)

    assert tokens == [None, 1]


@given(
    row=arrays(np.float32, st.integers(1, 400), elements=st.floats(-80, 80, width=32)),
    temperature=st.floats(0.01, 2),
    top_p=st.floats(0, 1),
    seed=st.integers(),
)
def test_every_draw_lies_in_the_nucleus(row: Row, temperature: float, top_p: float, seed: int) -> None:
    token = Sampler(len(row)).draw(row, Sampling(temperature, top_p), random.Random(seed))

    weights = np.exp((row.astype(np.float64) - row.max()) / temperature)
    likelier = weights[weights > weights[token] * (1 + 1e-4)].sum()
    assert likelier == 0 or likelier < top_p * weights.sum() * (1 + 1e-4)

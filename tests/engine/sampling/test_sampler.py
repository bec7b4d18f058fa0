"""Sampling: tokens follow the exact distribution, and only the request's own seed decides."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from msgspec.structs import replace
from numpy.typing import NDArray
from sampling_reference import Row, exact, log_softmax, mass_above

from localrouter.engine.generation_request import Sampling
from localrouter.engine.sampling.penalties import Penalties
from localrouter.engine.sampling.sampler import CannotSample, NotFinite, SampledToken, Sampler, rng_of

SAMPLES = 30_000


class Clocks(np.random.Generator):
    """Generator whose exponential times are given, one for each token that is sampled from."""

    def __init__(self, times: Row) -> None:
        super().__init__(np.random.SFC64(0))
        self.times = times

    def standard_exponential(self, size: int) -> Row:  # type: ignore[override]
        assert size == len(self.times)
        return self.times.copy()


def label(value: object) -> str:
    """Return the fields of a Sampling that are not as by default."""
    if not isinstance(value, Sampling):
        return str(value)
    changed = [name for name in value.__struct_fields__ if getattr(value, name) != getattr(Sampling(), name)]
    return ",".join(f"{name}={getattr(value, name)}" for name in changed)


def tokens_of(row: Row, sampling: Sampling, count: int) -> list[int]:
    sampler, rng = Sampler(len(row)), rng_of(7)
    return [sampler.sample(row, sampling, rng).token for _ in range(count)]


def support(row: list[float], sampling: Sampling) -> set[int]:
    return set(tokens_of(np.array(row, np.float32), sampling, 200))


@pytest.mark.slow
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(1.0, 1.0),
        Sampling(0.6, 1.0),
        Sampling(2.0, 1.0),
        Sampling(1.0, 0.95),
        Sampling(1.3, 0.2),
        Sampling(2.0, 0.05),
        Sampling(1.0, top_k=20),
        Sampling(0.6, 0.95, top_k=20),
        Sampling(1.5, 0.9, top_k=700),
        Sampling(0.8, min_p=0.05),
        Sampling(1.0, 0.9, min_p=0.001),
        Sampling(1.0, 0.95, top_k=64, min_p=0.05),
    ],
    ids=label,
)
def test_samples_follow_the_exact_distribution(sampling: Sampling) -> None:
    """Pearson's chi-square, tokens expected fewer than 5 times taken together; five standard deviations are allowed."""
    row = np.random.default_rng(3).normal(0, 2, 1283).astype(np.float32)
    expected = exact(row, sampling) * SAMPLES
    seen = np.bincount(tokens_of(row, sampling, SAMPLES), minlength=len(row))
    common = expected >= 5
    pairs = [*zip(seen[common], expected[common], strict=True), (seen[~common].sum(), expected[~common].sum())]

    statistic = sum((s - e) ** 2 / e for s, e in pairs if e)
    degrees = max(sum(e > 0 for _, e in pairs) - 1, 1)

    assert seen[expected == 0].sum() == 0
    assert statistic < degrees + 5 * np.sqrt(2 * degrees)


def test_penalties_and_bias_act_before_everything_that_keeps_tokens() -> None:
    row = np.random.default_rng(4).normal(0, 2, 1283).astype(np.float32)
    best = np.argsort(-row)
    prompt, output = best[:3].tolist(), [*best[2:6].tolist(), int(best[4])]
    how = Sampling(
        0.8, 0.9, top_k=12, min_p=0.02, presence_penalty=0.4, frequency_penalty=0.7, repeat_penalty=1.2,
        logit_bias={int(best[700]): 7.0, int(best[1]): -100.0},
    )  # fmt: skip
    tokens = list(prompt)
    penalties = Penalties(how, tokens)
    tokens += output
    expected = exact(row, how, prompt, output) * 20_000

    sampler, rng = Sampler(len(row)), rng_of(5)
    seen = np.bincount([sampler.sample(row, how, rng, penalties).token for _ in range(20_000)], minlength=len(row))

    assert (np.abs(seen - expected) <= 5 * np.sqrt(expected)).all()


@given(
    seed=st.integers(0, 9999),
    temperature=st.floats(0.3, 2),
    top_p=st.floats(0.05, 1),
    top_k=st.integers(2, 40),
    min_p=st.floats(0, 0.5),
)
def test_each_kept_token_has_its_exact_share_of_the_randomness(
    seed: int, temperature: float, top_p: float, top_k: int, min_p: float
) -> None:
    """Where each token's clock rings at a time like its share all come first together; a moment decides."""
    row = np.random.default_rng(seed).normal(0, 2, 600).astype(np.float32)
    how, kept = Sampling(temperature, top_p, None, top_k, min_p), Sampling(temperature, 1, None, top_k, min_p)
    assume(np.abs(mass_above(among := exact(row, kept)) - top_p)[among > 0].min() > 1e-5)  # float32 resolves no less
    considered = np.flatnonzero(among)
    chances, sampler = exact(row, how)[considered], Sampler(len(row))
    assume(np.count_nonzero(chances) > 1)

    for place in np.flatnonzero(chances > 3e-5):
        for sooner, wins in ((1 - 1e-4, True), (1 + 1e-4, False)):
            times = np.where(chances > 0, chances, 1e-9)
            times[place] *= sooner
            sampled_token = sampler.sample(row, how, Clocks(times)).token
            assert bool(sampled_token == considered[place]) is wins


@given(
    row=arrays(np.float32, st.integers(1, 400), elements=st.integers(-80, 80).map(float)),
    temperature=st.floats(0.01, 2),
    top_p=st.floats(0, 1),
    top_k=st.integers(0, 450),
    min_p=st.floats(0, 1),
    seed=st.integers(),
)
def test_every_sampled_token_is_one_that_the_definition_keeps(
    row: Row, temperature: float, top_p: float, top_k: int, min_p: float, seed: int
) -> None:
    how = Sampling(temperature, top_p, None, top_k, min_p)
    token = Sampler(len(row)).sample(row, how, rng_of(seed)).token

    chances = exact(row, Sampling(temperature, 1, None, top_k, min_p))
    above = mass_above(chances)[token]
    assert row[token] == row.max() or (chances[token] > 0 and above < top_p * (1 + 1e-4))


@pytest.mark.parametrize("offset", [-300, -30, -15, 55, 300])
@pytest.mark.parametrize("temperature", [1, 0.7])
def test_a_constant_added_to_all_logits_changes_nothing(offset: int, temperature: float) -> None:
    row = np.random.default_rng(3).normal(0, 2, 200).astype(np.float32)
    expected = exact(row, Sampling(temperature)) * 5000

    seen = np.bincount(tokens_of(row + np.float32(offset), Sampling(temperature), 5000), minlength=200)

    assert (np.abs(seen - expected) < 6 * np.sqrt(expected) + 3).all()


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0),
        Sampling(top_p=0),
        Sampling(top_k=1),
        Sampling(temperature=0, top_k=3, min_p=0.5),
        Sampling(temperature=1e-6),
        Sampling(temperature=1e-300),
        Sampling(temperature=1e-6, top_k=2, top_p=0.9, min_p=0.1),
        Sampling(top_p=1e-9),
        Sampling(min_p=1.0),
    ],
    ids=label,
)
def test_fields_that_keep_only_the_likeliest_token_are_greedy(sampling: Sampling) -> None:
    assert support([0, 3, 2.9], sampling) == {1}


@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(top_k=1), Sampling(top_p=0)], ids=label)
def test_the_greedy_choice_between_equals_is_the_first(sampling: Sampling) -> None:
    assert support([0, 3, 1, 3], sampling) == {1}


@pytest.mark.parametrize(
    "sampling", [Sampling(top_k=2), Sampling(top_p=0.3), Sampling(min_p=1), Sampling(1e-6)], ids=label
)
@pytest.mark.parametrize("size", [5, 300, 5000])
def test_equally_likely_tokens_are_in_or_out_together(sampling: Sampling, size: int) -> None:
    row = [-20.0] * size
    for place in (0, size // 2, size - 1):
        row[place] = 2

    assert support(row, sampling) == {0, size // 2, size - 1}


@pytest.mark.parametrize("top_k", [0, 4, 5])
def test_a_top_k_of_the_whole_vocabulary_is_none(top_k: int) -> None:
    assert support([1, 1, 1.5, 1], Sampling(top_k=top_k)) == {0, 1, 2, 3}


def test_a_top_p_that_sampling_hardly_ever_hits_is_exact_too() -> None:
    row = np.zeros(5000, np.float32)
    row[[17, 4711]] = 1e-3

    assert set(tokens_of(row, Sampling(top_p=1e-6), 50)) == {17, 4711}


def test_tokens_without_probability_are_never_sampled() -> None:
    row = np.full(1000, -np.inf, np.float32)
    row[[5, 999]] = 0

    for sampling in (Sampling(), Sampling(top_k=20), Sampling(min_p=1e-9), Sampling(0.5, 0.99, top_k=3)):
        assert set(tokens_of(row, sampling, 200)) == {5, 999}


@pytest.mark.parametrize(("bias", "expected"), [(-100.0, {0, 1}), (100.0, {2})])
@pytest.mark.parametrize("temperature", [0.0, 0.5, 2.0])
def test_a_bias_of_a_hundred_bans_or_forces_a_token(bias: float, expected: set[int], temperature: float) -> None:
    row, sampling = np.array([2, 2, 5], np.float32), Sampling(temperature, logit_bias={2: bias})
    sampler, rng, penalties = Sampler(3), rng_of(1), Penalties(sampling, [])

    assert {sampler.sample(row, sampling, rng, penalties).token for _ in range(100)} <= expected


def test_the_same_seed_samples_the_same_tokens_beside_other_requests() -> None:
    row = np.random.default_rng(1).normal(size=500).astype(np.float32)
    mine, theirs = Sampling(0.9, 0.9, min_p=1e-3, logprobs=3), Sampling(1.5, 0.5, repeat_penalty=1.3, logprobs=1)
    sampler, alone, together, others = Sampler(500), rng_of(5), rng_of(5), rng_of(6)
    neither, penalties = Penalties(mine, []), Penalties(theirs, [1, 2, 3])

    first = [sampler.sample(row, mine, alone, neither) for _ in range(20)]
    second = []
    for _ in first:
        sampler.sample(row, theirs, others, penalties)
        second.append(sampler.sample(row, mine, together, neither))

    assert first == second


KINDS = [Sampling(), Sampling(0), Sampling(0.7, 0.9), Sampling(top_k=2), Sampling(min_p=0.1), Sampling(logprobs=2)]


@pytest.mark.parametrize("sampling", KINDS, ids=label)
@pytest.mark.parametrize("row", [[np.nan, 1, 2], [1, 2, np.nan], [-np.inf, -np.inf], [np.inf, 0], [np.inf, np.nan]])
def test_logits_that_are_not_finite_are_rejected(row: list[float], sampling: Sampling) -> None:
    with pytest.raises(NotFinite):
        Sampler(len(row)).sample(np.array(row, np.float32), sampling, rng_of(1))


@pytest.mark.parametrize("place", [0, 700, 1279, 1282])
@pytest.mark.parametrize("sampling", KINDS, ids=label)
def test_a_single_nan_is_noticed_at_any_place(place: int, sampling: Sampling) -> None:
    row = np.random.default_rng(3).normal(0, 2, 1283).astype(np.float32)
    row[place] = np.nan

    with pytest.raises(NotFinite):
        Sampler(len(row)).sample(row, sampling, rng_of(1))


@given(
    st.lists(st.integers(0, 40), min_size=2, unique=True),
    st.sampled_from([*KINDS, Sampling(repeat_penalty=1.5), Sampling(logit_bias={0: 100.0}), Sampling(2, 0.5, top_k=5)]),
    st.integers(0, 1000),
)
def test_tokens_that_a_grammar_allows_are_sampled_as_if_there_were_no_others(
    tokens: list[int], how: Sampling, seed: int
) -> None:
    logits = np.random.default_rng(seed).normal(0, 2, 41).astype(np.float32)
    few = np.full(41, -np.inf, np.float32)
    few[tokens] = logits[tokens]
    bits = np.zeros(41, np.uint8)
    bits[tokens] = 1
    how = replace(how, logprobs=None)

    sampled_token = Sampler(41).sample(logits, how, rng_of(seed), Penalties(how, [0, 1]), _packed(bits))

    assert sampled_token == Sampler(41).sample(few, how, rng_of(seed), Penalties(how, [0, 1]))
    assert sampled_token.token in tokens


def _packed(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return bits as a grammar gives them: whole words, and what is beyond the vocabulary of no account."""
    beyond = np.ones(-len(bits) % 32, np.uint8)
    return np.packbits(np.concatenate([bits, beyond]), bitorder="little")


def test_a_token_that_comes_alone_takes_no_randomness() -> None:
    row, rng = np.zeros(8, np.float32), rng_of(1)

    assert Sampler(8).sample(row, Sampling(), rng, None, 3).token == 3
    assert rng.random() == rng_of(1).random()


def test_the_row_is_left_as_it_is_by_a_grammar() -> None:
    row = np.arange(8, dtype=np.float32)

    Sampler(8).sample(row, Sampling(), rng_of(1), None, np.array([3], np.uint8))

    assert row.tolist() == list(range(8))


@pytest.mark.parametrize("allowed", [np.array([3], np.uint8), np.array([255], np.uint8)])
def test_a_nan_is_noticed_behind_a_grammar(allowed: NDArray[np.uint8]) -> None:
    row = np.array([0, 1, 2, np.nan], np.float32)

    with pytest.raises(NotFinite):
        Sampler(4).sample(row, Sampling(), rng_of(1), None, allowed)


def test_a_grammar_that_allows_only_impossible_tokens_is_distinguished_from_logits_that_are_not_finite() -> None:
    row = np.array([-np.inf, -np.inf, 0, 1], np.float32)

    with pytest.raises(CannotSample) as caught:
        Sampler(4).sample(row, Sampling(), rng_of(1), None, np.array([3], np.uint8))
    assert caught.value.code == "grammar_dead_end"


def test_log_probabilities_come_only_where_asked_for() -> None:
    row = np.array([0, 1, 1], np.float32)
    sampler, rng = Sampler(3), rng_of(1)

    nothing = sampler.sample(row, Sampling(0), rng)
    own = sampler.sample(row, Sampling(0, logprobs=0), rng)

    assert nothing == SampledToken(1, None, ())
    assert own.logprob == pytest.approx(1 - np.log(1 + 2 * np.e), abs=1e-6)
    assert own.top == ()


@given(
    row=arrays(np.float32, st.integers(1, 400), elements=st.floats(-90, 90, width=32)),
    count=st.integers(0, 20),
    temperature=st.floats(0, 2),
)
def test_log_probabilities_are_the_model_s_own(row: Row, count: int, temperature: float) -> None:
    """Neither temperature, penalties, bias nor `top_k` show in them."""
    how = Sampling(temperature, top_k=5, repeat_penalty=1.5, logit_bias={0: 9.0}, logprobs=count)
    expected = log_softmax(row.astype(np.float64))

    sampled_token = Sampler(len(row)).sample(row, how, rng_of(1), Penalties(how, [0]))

    assert sampled_token.logprob == pytest.approx(expected[sampled_token.token], abs=2e-5)
    assert [token for token, _ in sampled_token.top] == np.argsort(-row, kind="stable")[:count].tolist()
    assert [logprob for _, logprob in sampled_token.top] == pytest.approx(
        expected[[t for t, _ in sampled_token.top]], abs=2e-5
    )
    assert all(logprob <= 0 for _, logprob in sampled_token.top)


def test_impossible_tokens_are_not_among_the_likeliest() -> None:
    row = np.array([-np.inf, 0, -np.inf, 3], np.float32)

    assert [token for token, _ in Sampler(4).sample(row, Sampling(logprobs=4), rng_of(1)).top] == [3, 1]


def test_the_greedy_choice_is_made_after_penalties_and_bias() -> None:
    row, how = np.array([1, 2, 3], np.float32), Sampling(0, presence_penalty=2.5, logit_bias={0: 2.5})
    tokens: list[int] = []
    sampler, penalties = Sampler(3), Penalties(how, tokens)

    while len(tokens) < 3:
        tokens += [sampler.sample(row, how, rng_of(1), penalties).token]

    assert tokens == [0, 2, 1]

"""Penalties and bias change the logits as OpenAI and llama.cpp define them, counted as the output grows."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampling_reference import Row, processed

from localrouter.engine.backends.base import Logits
from localrouter.engine.backends.echo import EchoBackend
from localrouter.engine.engine import Engine
from localrouter.engine.generation_request import GenerationRequest, Sampling, Segment
from localrouter.engine.messages import Generate, Piece
from localrouter.engine.sampling.penalties import Penalties, SeenTokens
from localrouter.engine.scheduling.batch import Batch
from localrouter.load_options import LoadOptions

ROW = np.array([2, -2, 1, 0.5], np.float32)


def apply(row: Row, how: Sampling, prompt: list[int], output: list[int]) -> list[float]:
    tokens = list(prompt)
    penalties = Penalties(how, tokens)
    tokens += output
    values: list[float] = penalties.apply(row, np.empty_like(row)).tolist()
    return values


def test_without_penalties_and_bias_the_row_itself_comes_back() -> None:
    assert Penalties(Sampling(top_k=3, min_p=0.1), [1, 2]).apply(ROW, np.empty_like(ROW)) is ROW


def test_the_model_s_row_is_left_as_it_is() -> None:
    row = ROW.copy()

    apply(row, Sampling(presence_penalty=1, repeat_penalty=2, logit_bias={0: 5}), [0], [1])

    assert row.tolist() == ROW.tolist()


def test_the_presence_penalty_counts_a_token_of_the_output_once() -> None:
    assert apply(ROW, Sampling(presence_penalty=0.5), [2], [0, 0, 1]) == [1.5, -2.5, 1, 0.5]


def test_the_frequency_penalty_counts_each_time() -> None:
    assert apply(ROW, Sampling(frequency_penalty=0.5), [2], [0, 0, 1]) == [1, -2.5, 1, 0.5]


def test_the_repeat_penalty_counts_the_prompt_too_and_always_lowers() -> None:
    assert apply(ROW, Sampling(repeat_penalty=2), [1, 1], [0]) == [1, -4, 1, 0.5]


def test_a_bias_is_added_after_the_repeat_penalty() -> None:
    assert apply(ROW, Sampling(repeat_penalty=2, logit_bias={0: 100, 3: -100}), [0], []) == [101, -2, 1, -99.5]


@pytest.mark.parametrize("token", [-1, 4])
def test_a_bias_outside_of_the_vocabulary_fails_an_assertion(token: int) -> None:
    with pytest.raises(AssertionError, match="outside of the vocabulary"):
        apply(ROW, Sampling(logit_bias={0: 1, token: 1}), [], [])


def test_logits_of_minus_infinity_or_nan_stay_so() -> None:
    row = np.array([-np.inf, np.nan, np.inf], np.float32)
    how = Sampling(presence_penalty=1, frequency_penalty=-1, repeat_penalty=1.5, logit_bias={0: 100, 2: -100})

    assert np.array_equal(apply(row, how, [], [0, 1, 2]), row, equal_nan=True)


@given(
    seed=st.integers(0, 999),
    how=st.builds(
        Sampling,
        presence_penalty=st.floats(-2, 2),
        frequency_penalty=st.floats(-2, 2),
        repeat_penalty=st.floats(0.5, 2),
        logit_bias=st.dictionaries(st.integers(0, 29), st.floats(-100, 100), max_size=5),
    ),
    prompt=st.lists(st.integers(0, 29)),
    output=st.lists(st.integers(0, 29)),
)
def test_every_step_of_an_output_follows_the_definition(
    seed: int, how: Sampling, prompt: list[int], output: list[int]
) -> None:
    row = np.random.default_rng(seed).normal(0, 5, 30).astype(np.float32)
    tokens, out = list(prompt), np.empty(30, np.float32)
    penalties = Penalties(how, tokens)

    for length in range(len(output) + 1):
        expected = processed(row, how, prompt, output[:length])
        assert penalties.apply(row, out) == pytest.approx(expected, abs=1e-4)
        tokens += output[length : length + 1]


@given(st.lists(st.integers(0, 300)), st.lists(st.integers(0, 300), max_size=400))
def test_seen_tokens_are_counted_one_by_one(prompt: list[int], output: list[int]) -> None:
    seen = SeenTokens(prompt)
    for token in output:
        seen.add(token)

    counted = dict(zip(seen.tokens.tolist(), seen.times.tolist(), strict=True))
    assert counted == {**dict.fromkeys(prompt, 0), **Counter(output)}


def test_sequences_of_the_engine_count_their_sampled_tokens() -> None:
    """Greedy sampling takes the first of equal tokens; a penalty for each sampled one leads to the next."""

    class Flat(EchoBackend):
        def decode(self, batch: Batch) -> Logits:
            return np.zeros_like(super().decode(batch))

    engine, pieces = Engine(Flat(LoadOptions())), []
    engine.submit(
        Generate(
            1, GenerationRequest([Segment("\0\1", False)], Sampling(temperature=0, frequency_penalty=0.1), max_tokens=4)
        )
    )
    while not engine.is_idle:
        pieces += [event.text for event in engine.step() if isinstance(event, Piece)]

    assert pieces == ["\0", "\1", "\2", "\3"]

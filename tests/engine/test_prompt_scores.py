"""Log probabilities of prompts on the echo backend: every token once, whatever happens to the request."""

import math

import numpy as np
import pytest
from conversations import ask, end_of, run, text_of

from localrouter.engine.backends.base import Logits
from localrouter.engine.backends.echo import END, VOCABULARY, EchoBackend
from localrouter.engine.engine import Engine
from localrouter.engine.generation_request import GenerationRequest, Sampling, Segment
from localrouter.engine.messages import Event, Finished, Generate, Piece, PromptLogprobs, PromptToken
from localrouter.engine.scheduling.batch import Batch
from localrouter.load_options import LoadOptions


class PositionBackend(EchoBackend):
    """Gives the token after position p a logit of p modulo 7, and all others 0; and the end token, after a prompt."""

    outputs = 0

    def decode(self, batch: Batch) -> Logits:
        super().decode(batch)
        self.outputs = max(self.outputs, len(batch.outputs))
        logits = np.zeros((len(batch.outputs), VOCABULARY), np.float32)
        for row, output in enumerate(batch.outputs):
            logits[row, END] = batch.positions[output] % 7
        return logits


def engine(cells: int = 4000, context: int = 400, max_sequences: int = 4) -> Engine:
    return Engine(PositionBackend(LoadOptions(context=context, cells=cells, max_sequences=max_sequences)))


def scored(
    number: int, text: str, *, top: int = 0, max_tokens: int | None = 1, logprobs: int | None = None
) -> Generate:
    segments = [Segment(text, control=True)]
    sampling = Sampling(temperature=0, logprobs=logprobs)
    return Generate(
        number,
        GenerationRequest(segments, sampling, max_tokens, prompt_logprobs=top, lists_silent=logprobs is not None),
    )


def tokens_of(events: list[Event], number: int) -> list[PromptToken]:
    told = [event for event in events if isinstance(event, PromptLogprobs) and event.id == number]
    assert [event.is_last for event in told] == [False] * (len(told) - 1) + [True]
    return [token for event in told for token in event.tokens]


def expected(position: int) -> float:
    """Return the log probability of the token at a position, which is not the end token."""
    return -math.log(VOCABULARY - 1 + math.exp((position - 1) % 7))


def assert_scored(found: list[PromptToken], text: str) -> None:
    assert b"".join(token.piece for token in found) == text.encode()
    assert found[0] == PromptToken(found[0].token, text.encode()[:1])
    for position, token in enumerate(found[1:], start=1):
        assert token.logprob == pytest.approx(expected(position), abs=1e-5)
        assert token.rank == (1 if (position - 1) % 7 == 0 else 2)


@pytest.mark.parametrize("length", [1, 2, 31, 37, 130, 399])
def test_every_token_but_the_first_has_the_log_probability_of_the_row_before_it(length: int) -> None:
    text = "x" * length
    events = run(engine(), scored(1, text))

    assert_scored(tokens_of(events, 1), text)
    assert end_of(events, 1).usage.prompt_tokens == length


def test_a_step_has_a_limited_number_of_rows_with_logits() -> None:
    running = engine(max_sequences=4)
    backend = running.backend
    assert isinstance(backend, PositionBackend)

    run(running, *(scored(number, "x" * 300) for number in range(9)))

    assert backend.outputs <= backend.limits.max_outputs < 50


def test_what_is_cached_is_computed_again_and_later_prompts_reuse_it() -> None:
    running = engine()
    run(running, ask(1, "hello " * 20))
    text = f"<|im_start|>user\n{'hello ' * 20}"

    events = run(running, scored(2, text))

    assert len(tokens_of(events, 2)) == end_of(events, 2).usage.prompt_tokens
    assert end_of(events, 2).usage.cached_tokens == 0
    again = run(running, Generate(3, GenerationRequest([Segment(f"{text}!", control=True)], max_tokens=1)))
    assert end_of(again, 3).usage.cached_tokens == end_of(again, 3).usage.prompt_tokens - 1


def test_a_preempted_request_reports_each_token_once() -> None:
    running = engine(cells=400, max_sequences=6)
    texts = {number: f"{number}" * (80 + number) for number in range(6)}
    events = [running.submit(scored(number, text, max_tokens=40)) for number, text in texts.items()]
    for _ in range(400):
        events += running.step()
        if running.scheduler.preempt_newest():
            running.scheduler.apply(running.backend)
        if running.is_idle:
            break
    while not running.is_idle:
        events += running.step()

    for number, text in texts.items():
        assert_scored(tokens_of(events, number), text)
        assert end_of(events, number).reason == "stop"


def test_no_token_is_sampled_where_none_is_wanted() -> None:
    events = run(engine(), scored(1, "hello", max_tokens=0))

    assert_scored(tokens_of(events, 1), "hello")
    assert (text_of(events, 1), end_of(events, 1).reason) == ("", "length")
    assert end_of(events, 1).usage.completion_tokens == 0


@pytest.mark.parametrize(("tokens", "max_tokens", "fits"), [(400, 0, True), (400, 1, False), (401, 0, False)])
def test_a_prompt_may_fill_the_context_where_no_token_is_sampled(tokens: int, max_tokens: int, fits: bool) -> None:
    event = engine().submit(scored(1, "x" * tokens, max_tokens=max_tokens))

    assert isinstance(event, Finished) is not fits


def test_the_end_token_is_listed_without_text() -> None:
    events = run(engine(), scored(1, "hell", max_tokens=5, logprobs=1))

    (piece,) = [event for event in events if isinstance(event, Piece)]
    assert (piece.text, piece.logprobs[0].piece) == ("", b"<|im_end|>")
    assert end_of(events, 1).usage.completion_tokens == 1


def test_the_likeliest_tokens_have_their_ids() -> None:
    found = tokens_of(run(engine(), scored(1, "abcd", top=1)), 1)

    assert [[token for token, *_ in each.top] for each in found] == [[], [0], [END], [END]]
    assert found[3].top[0][2] == pytest.approx(expected(3) + 2, abs=1e-5)


def test_a_cancelled_request_reports_nothing_more() -> None:
    running = engine()
    running.submit(scored(1, "x" * 300))
    running.step()

    assert [type(event) for event in running.cancel(1)] == [Finished]
    assert running.is_idle
    assert running.step() == []


class SpoiltBackend(PositionBackend):
    """Computes NaN for the rows of one position."""

    def decode(self, batch: Batch) -> Logits:
        logits = super().decode(batch)
        for row, output in enumerate(batch.outputs):
            if batch.positions[output] == 50 and batch.tokens[output] == ord("x"):
                logits[row, 3] = np.nan
        return logits


def test_a_prompt_with_logits_that_are_not_finite_fails_alone() -> None:
    running = Engine(SpoiltBackend(LoadOptions(context=400, cells=4000, max_sequences=4)))

    events = run(running, scored(1, "x" * 60), scored(2, "y" * 60))

    assert end_of(events, 1).code == "not_finite"
    assert_scored(tokens_of(events, 2), "y" * 60)

"""Where an output may end: `min_tokens`, `ignore_eos` and stop tokens, on the echo backend."""

import numpy as np
import pytest
from conversations import end_of, prompt, run, text_of
from hypothesis import given, settings
from hypothesis import strategies as st
from wild_backend import WildBackend

from localrouter.engine.backends.base import Logits
from localrouter.engine.backends.echo import END, EchoBackend
from localrouter.engine.engine import Engine
from localrouter.engine.generation_request import GenerationRequest, Grammar, Sampling
from localrouter.engine.messages import Event, Generate, Piece
from localrouter.engine.scheduling.batch import Batch
from localrouter.load_options import LoadOptions


def echo(context: int = 400) -> Engine:
    return Engine(EchoBackend(LoadOptions(context=context, max_sequences=4)))


def ask(
    text: str, sampling: Sampling, max_tokens: int | None = None, grammar: str | None = None, *, reports: bool = False
) -> Generate:
    lark = Grammar(grammar) if grammar else None
    return Generate(1, GenerationRequest(prompt(text), sampling, max_tokens, lark, reports_progress=reports))


def said(events: list[Event]) -> tuple[str, str, int]:
    """Return the text of an output, the reason of its end and its number of tokens."""
    end = end_of(events, 1)
    return text_of(events, 1), end.reason, end.usage.completion_tokens


@pytest.mark.parametrize("temperature", [0, 1])
def test_an_output_does_not_end_before_its_least_number_of_tokens(temperature: float) -> None:
    events = run(echo(), ask("hi", Sampling(temperature, min_tokens=5)))

    assert said(events) == ("hihih", "stop", 6)


def test_an_output_that_is_long_enough_ends_as_it_would() -> None:
    assert said(run(echo(), ask("hello", Sampling(min_tokens=5)))) == ("hello", "stop", 6)


def test_without_end_tokens_an_output_goes_on_to_its_limit() -> None:
    assert said(run(echo(), ask("hi", Sampling(ignore_eos=True), 7))) == ("hihihih", "length", 7)


def test_without_end_tokens_and_a_limit_an_output_goes_on_to_the_end_of_the_context() -> None:
    end = end_of(run(echo(100), ask("hi", Sampling(ignore_eos=True))), 1)

    assert end.reason == "length"
    assert end.usage.prompt_tokens + end.usage.completion_tokens == 100


def test_a_complete_structured_output_ends_all_the_same() -> None:
    asked = ask("yes", Sampling(min_tokens=20, ignore_eos=True), grammar='start: "yes" | "no"')

    assert said(run(echo(), asked)) == ("yes", "stop", 3)


def test_a_structured_output_that_may_go_on_goes_on() -> None:
    asked = ask("yes", Sampling(min_tokens=8), grammar="start: /[a-z]+/")

    assert said(run(echo(), asked)) == ("yesyesye", "stop", 9)


def test_the_log_probabilities_stay_the_model_s_own() -> None:
    events = run(echo(), ask("hi", Sampling(min_tokens=3, logprobs=1)))

    logprobs = [each for event in events if isinstance(event, Piece) for each in event.logprobs]
    assert [each.value for each in logprobs] == [0, 0, -1000]


def test_a_stop_string_ends_no_output_that_is_too_short() -> None:
    asked = ask("a.b.c.d.", Sampling(min_tokens=4, stop=(".",)))

    assert said(run(echo(), asked)) == ("a.b", "stop", 4)
    assert said(run(echo(), ask("a.b.", Sampling(min_tokens=3, stop=(".",))))) == ("a.b", "stop", 4)


def test_a_stop_token_ends_the_output_before_its_text() -> None:
    stop = Sampling(stop_tokens=(ord("l"),))

    assert said(run(echo(), ask("hello", stop))) == ("he", "stop", 3)


def test_a_stop_token_is_not_sampled_before_the_least_number_of_tokens() -> None:
    class Two(EchoBackend):
        """Finds `a` likelier than `b`, and nothing else possible."""

        def decode(self, batch: Batch) -> Logits:
            logits = np.full_like(super().decode(batch), -np.inf)
            logits[:, ord("a")], logits[:, ord("b")] = 1, 0
            return logits

    engine = Engine(Two(LoadOptions(context=100)))

    events = run(engine, ask("?", Sampling(0, min_tokens=3, stop_tokens=(ord("a"),))))

    assert said(events) == ("bbb", "stop", 4)


def test_an_end_token_that_is_a_stop_token_ends_an_output_that_ignores_end_tokens() -> None:
    assert said(run(echo(), ask("hi", Sampling(ignore_eos=True, stop_tokens=(END,)), 9))) == ("hi", "stop", 3)


@given(st.integers(0, 1 << 32), st.lists(st.integers(0, 60), min_size=3, max_size=3), st.sampled_from([0.0, 1.0]))
@settings(max_examples=20)
def test_every_output_is_as_long_as_it_has_to_be_also_when_preempted(
    seed: int, least: list[int], temperature: float
) -> None:
    commands = [
        Generate(number, GenerationRequest(prompt("x" * 40), Sampling(temperature, min_tokens=tokens), 150))
        for number, tokens in enumerate(least)
    ]

    events = run(Engine(WildBackend(seed, end=5)), *commands)

    for number, tokens in enumerate(least):
        assert end_of(events, number).usage.completion_tokens > tokens


def test_the_progress_is_reported_with_each_piece_where_a_request_wants_it() -> None:
    events = run(echo(), ask("hey", Sampling(), reports=True))

    progress = [event.progress for event in events if isinstance(event, Piece)]
    assert [each.usage.completion_tokens for each in progress if each] == [1, 2, 3]
    end = end_of(events, 1)
    assert end.timings is not None
    last = progress[-1]
    assert last is not None
    assert 0 <= last.timings.predicted_ms <= end.timings.predicted_ms
    assert last.timings.prompt_ms == end.timings.prompt_ms > 0
    assert last.timings.queued_ms == end.timings.queued_ms >= 0


def test_time_in_the_queue_is_not_time_of_the_prompt() -> None:
    engine = Engine(EchoBackend(LoadOptions(context=400, max_sequences=1), step_ms=2))
    first = Generate(0, GenerationRequest(prompt("x" * 20)))

    events = run(engine, first, ask("y", Sampling(), reports=True))

    timings = end_of(events, 1).timings
    assert timings is not None
    assert timings.queued_ms >= 20 * 2 > timings.prompt_ms


def test_no_progress_is_reported_otherwise() -> None:
    events = run(echo(), ask("hey", Sampling()))

    assert all(event.progress is None for event in events if isinstance(event, Piece))
    assert end_of(events, 1).timings is None

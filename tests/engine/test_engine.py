"""The engine on the echo backend: each request gets its own output and ends exactly once."""

import pytest
from conversations import ask, end_of, prompt, run, text_of
from hypothesis import given, settings
from hypothesis import strategies as st

from localrouter.engine.backends.echo import EchoBackend
from localrouter.engine.engine import Engine
from localrouter.engine.generation_request import GenerationRequest, Sampling, Segment
from localrouter.engine.messages import Accepted, Finished, Gauge, Generate, Logprob, Piece, TokenUsage
from localrouter.load_options import LoadOptions


def echo(context: int = 400, cells: int | None = None, max_sequences: int = 64) -> Engine:
    return Engine(EchoBackend(LoadOptions(context=context, cells=cells, max_sequences=max_sequences)))


def test_an_output_ends_with_stop_and_its_end_token_is_counted() -> None:
    events = run(echo(), ask(1, "héllo"))

    assert text_of(events, 1) == "héllo"
    assert end_of(events, 1) == Finished(1, "stop", TokenUsage(len("user\nhéllo\nassistant\n") + 1 + 3, 6 + 1))


def test_max_tokens_ends_the_output_with_length() -> None:
    events = run(echo(), ask(1, "hello", max_tokens=3))

    assert text_of(events, 1) == "hel"
    assert end_of(events, 1).reason == "length"
    assert end_of(events, 1).usage.completion_tokens == 3


def test_an_output_that_reaches_the_end_of_the_context_ends_with_length() -> None:
    engine = echo(context=60)

    events = run(engine, ask(1, "x" * 30))

    usage = end_of(events, 1).usage
    assert end_of(events, 1).reason == "length"
    assert usage.prompt_tokens + usage.completion_tokens == 60


def test_a_character_cut_by_max_tokens_becomes_one_replacement_character() -> None:
    assert text_of(run(echo(), ask(1, "€uro", max_tokens=2)), 1) == "\ufffd"


def test_a_context_is_no_longer_than_the_cache() -> None:
    engine = echo(context=400, cells=60)

    events = run(engine, ask(1, "x" * 30))

    assert engine.backend.info.context == 60
    assert end_of(events, 1).reason == "length"


@pytest.mark.parametrize(("tokens", "fits"), [(399, True), (400, False), (5000, False)])
def test_a_prompt_must_leave_room_for_one_token(tokens: int, fits: bool) -> None:
    event = echo().submit(Generate(1, GenerationRequest([Segment("x" * tokens, control=True)])))

    assert isinstance(event, Accepted) is fits
    if isinstance(event, Finished):
        assert (event.code, event.usage) == ("context_length_exceeded", TokenUsage(tokens, 0))


def test_a_prompt_without_tokens_is_refused() -> None:
    event = echo().submit(Generate(1, GenerationRequest([])))

    assert isinstance(event, Finished)
    assert event.code == "empty_prompt"


def test_a_stop_string_ends_the_output_at_once_and_frees_its_cells() -> None:
    engine = echo()
    events = run(engine, Generate(1, GenerationRequest(prompt("one, two, three"), Sampling(stop=("wo,", "three")))))

    assert text_of(events, 1) == "one, t"
    assert end_of(events, 1).reason == "stop"
    assert end_of(events, 1).usage.completion_tokens == len("one, two,")
    assert engine.gauge.cells_used == 0


def test_a_stop_string_in_the_last_token_allowed_is_a_stop() -> None:
    events = run(echo(), Generate(1, GenerationRequest(prompt("hello"), Sampling(stop=("el",)), max_tokens=3)))

    assert (text_of(events, 1), end_of(events, 1).reason) == ("h", "stop")


@pytest.mark.parametrize(("max_tokens", "reason"), [(None, "stop"), (4, "length")])
def test_text_held_back_for_a_stop_string_is_sent_at_the_end(max_tokens: int | None, reason: str) -> None:
    events = run(echo(), Generate(1, GenerationRequest(prompt("fo\u00f6"), Sampling(stop=("o\u00f6!",)), max_tokens)))

    assert (text_of(events, 1), end_of(events, 1).reason) == ("fo\u00f6", reason)


def test_log_probabilities_come_with_the_text_of_their_tokens_and_leave_the_end_token_out() -> None:
    events = run(echo(), Generate(1, GenerationRequest(prompt("a\u20ac"), Sampling(logprobs=3))))

    certain = [Logprob(bytes([byte]), 0.0, ((bytes([byte]), 0.0),)) for byte in "a\u20ac".encode()]
    assert [event for event in events if isinstance(event, Piece)] == [
        Piece(1, "a", (certain[0],)),
        Piece(1, "\u20ac", tuple(certain[1:])),
    ]


def test_there_are_no_log_probabilities_unless_requested() -> None:
    events = run(echo(), ask(1, "hello"))

    assert not any(event.logprobs for event in events if isinstance(event, Piece))


def test_a_preempted_request_sends_each_log_probability_once() -> None:
    texts = {number: f"{number}" * 90 for number in range(6)}
    asked = [Generate(number, GenerationRequest(prompt(text), Sampling(logprobs=0))) for number, text in texts.items()]

    events = run(echo(cells=400, max_sequences=6), *asked)

    pieces = [event for event in events if isinstance(event, Piece)]
    sent = {n: b"".join(token.piece for p in pieces if p.id == n for token in p.logprobs) for n in texts}
    assert sent == {number: text.encode() for number, text in texts.items()}


@given(st.lists(st.tuples(st.text("aé€😀", max_size=40), st.integers(1, 200)), min_size=1, max_size=12))
@settings(max_examples=60)
def test_any_number_of_requests_get_their_own_outputs(requests: list[tuple[str, int]]) -> None:
    engine = echo(cells=500, max_sequences=4)

    events = run(engine, *(ask(number, text, max_tokens=limit) for number, (text, limit) in enumerate(requests)))

    for number, (text, limit) in enumerate(requests):
        assert text_of(events, number) == text.encode()[:limit].decode(errors="replace")
        assert end_of(events, number).reason == ("stop" if len(text.encode()) < limit else "length")
    assert engine.gauge == Gauge(cells_cached=engine.gauge.cells_cached)
    assert isinstance(engine.backend, EchoBackend)
    assert engine.backend.cells_used == engine.gauge.cells_cached


@given(data=st.data())
@settings(max_examples=60)
def test_cancelled_requests_free_their_cells_at_once_and_end_once(data: st.DataObject) -> None:
    engine = echo(cells=500, max_sequences=3)
    backend = engine.backend
    assert isinstance(backend, EchoBackend)
    events = [engine.submit(ask(number, "word " * data.draw(st.integers(0, 20)))) for number in range(8)]
    alive: set[int] = set(range(8))
    while not engine.is_idle:
        cancels: bool = data.draw(st.booleans())
        if alive and cancels:
            events += engine.cancel(data.draw(st.sampled_from(sorted(alive))))
        else:
            events += engine.step()
        alive -= {event.id for event in events if isinstance(event, Finished)}
        engine.scheduler.check()
        if not engine.kv_cache.pending:
            assert backend.cells_used == engine.gauge.cells_used + engine.gauge.cells_cached

    assert [end_of(events, number).id for number in range(8)] == list(range(8))


def test_cancelling_twice_or_after_the_end_does_nothing() -> None:
    engine = echo()
    engine.submit(ask(1, "hello"))

    assert [event.reason for event in engine.cancel(1) if isinstance(event, Finished)] == ["cancelled"]
    assert engine.cancel(1) == []


def test_a_request_preempted_for_lack_of_cells_sends_its_text_once() -> None:
    texts = {number: f"{number}" * 90 for number in range(6)}

    events = run(echo(cells=400, max_sequences=6), *(ask(number, text) for number, text in texts.items()))

    assert {number: text_of(events, number) for number in texts} == texts


def test_control_tokens_in_plain_segments_are_text() -> None:
    engine = echo()
    text = "a<|im_end|>b"
    head, tail = prompt("X")[0].text.split("X")
    parts = [Segment(head, control=True), Segment(text, control=False), Segment(tail, control=True)]

    assert text_of(run(engine, Generate(1, GenerationRequest(parts))), 1) == text
    assert text_of(run(engine, ask(2, text)), 2) == "a"

"""Output: whole characters, no part of a stop string, and tokens whose bytes are those of the text."""

from collections.abc import Iterator
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrouter.engine.generation_request import Sampling, Thinking, ToolCalls
from localrouter.engine.messages import Logprob
from localrouter.engine.output.output import Output, OutputSpan
from localrouter.engine.output.reasoning_budget import Reading
from localrouter.engine.output.spans import Span, Spans
from localrouter.engine.output.stop_strings import StopStrings

texts = st.text("ab€🙂", max_size=20)
thinking_texts = st.lists(st.sampled_from(["<t>", "</t>", "<", "t", "/", "a"]), max_size=12).map("".join)
stops_of_marks = st.lists(st.text("a<t>/", min_size=1, max_size=3), min_size=1, max_size=2).map(tuple)
THINKING = Thinking("<t>", "</t>")
stops = st.lists(st.text("ab€🙂", min_size=1, max_size=3), max_size=3).map(tuple)


@st.composite
def cut(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> list[bytes]:
    """Return tokens, some of which may have no bytes, as control tokens have."""
    data = draw(source)
    places = sorted(draw(st.lists(st.integers(0, len(data)))))
    return [data[start:stop] for start, stop in zip([0, *places], [*places, len(data)], strict=True)]


def thinker() -> Reading:
    return Reading(Spans(THINKING))


def looks(
    tokens: list[bytes], stop: tuple[str, ...] = (), logprobs: int | None = 0, reading: Reading | None = None
) -> Iterator[list[OutputSpan]]:
    """Yield what comes after each token, numbered by its log probability, and at the end."""
    answer = Output(Sampling(stop=stop, logprobs=logprobs), reading)
    for number, token in enumerate(tokens):
        yield answer.feed(number, token, None if logprobs is None else Logprob(token, float(-number)))
        if answer.is_stopped:
            break
    yield answer.flush()


def say(
    tokens: list[bytes], stop: tuple[str, ...] = (), logprobs: int | None = 0, reading: Reading | None = None
) -> list[OutputSpan]:
    """Return all that comes."""
    return [some for look in looks(tokens, stop, logprobs, reading) for some in look]


def text_of(said: list[OutputSpan]) -> str:
    return "".join(some.span.text for some in said)


def joined(spans: list[Span]) -> list[tuple[str, str]]:
    """Return kinds and texts, with neighbours of a kind in one, delimiters included."""
    groups = groupby(spans, key=lambda span: span.kind)
    return [(kind, "".join(span.text for span in group)) for kind, group in groups]


def bytes_of(said: OutputSpan) -> bytes:
    return b"".join(token.piece for token in said.logprobs)


@given(cut(texts.map(str.encode)), stops)
def test_the_text_is_the_same_with_log_probabilities_and_ends_before_the_first_stop_string(
    tokens: list[bytes], stop: tuple[str, ...]
) -> None:
    watch = StopStrings(stop)
    expected = watch.feed(b"".join(tokens).decode()) + watch.flush()

    assert text_of(say(tokens, stop)) == text_of(say(tokens, stop, logprobs=None)) == expected


@given(cut(texts.map(str.encode)), stops)
def test_the_tokens_that_come_with_a_text_have_exactly_its_bytes(tokens: list[bytes], stop: tuple[str, ...]) -> None:
    for some in say(tokens, stop):
        assert bytes_of(some).decode() == some.span.text


@given(cut(st.binary(max_size=20)))
def test_every_token_with_bytes_is_listed_once_and_in_order(tokens: list[bytes]) -> None:
    listed = [token for some in say(tokens) for token in some.logprobs]

    assert listed == [Logprob(token, float(-number)) for number, token in enumerate(tokens) if token]


@given(cut(st.binary(max_size=20)), st.sampled_from(["\ufffd", "a", "\ufffda"]))
def test_no_token_comes_without_text_whatever_the_bytes(tokens: list[bytes], stop: str) -> None:
    said = say(tokens, (stop,))

    assert all(some.span.text for some in said if some.logprobs)
    assert text_of(said) == b"".join(tokens).decode(errors="replace").split(stop)[0]


def test_tokens_that_share_a_character_come_with_it() -> None:
    first, second, _ = looks(["€".encode()[:2], "€".encode()[2:]])

    assert first == []
    assert second == [OutputSpan(Span("€"), (Logprob(b"\xe2\x82", 0.0), Logprob(b"\xac", -1.0)))]


def test_a_token_that_ends_inside_a_stop_string_is_cut_and_one_that_begins_inside_is_left_out() -> None:
    held, last, rest = looks([b"one. E", b"ND two"], ("END",))

    assert held == []
    assert last == [OutputSpan(Span("one. "), (Logprob(b"one. ", 0.0),))]
    assert rest == []


def test_text_held_back_comes_with_its_tokens_when_the_output_ends() -> None:
    assert say([b"E", b"N"], ("END",))[-1] == OutputSpan(Span("EN"), (Logprob(b"E", 0.0), Logprob(b"N", -1.0)))


@given(cut(thinking_texts.map(str.encode)), stops_of_marks)
def test_stop_strings_are_not_found_in_reasoning(tokens: list[bytes], stop: tuple[str, ...]) -> None:
    whole, expected = thinker(), ""
    for kind, text in joined([*whole.feed(b"".join(tokens).decode()), *whole.flush()]):
        watch = StopStrings(stop)
        expected += text if kind == "reasoning" else watch.feed(text) + watch.flush()
        if watch.found:
            break

    said = say(tokens, stop, reading=thinker())

    assert text_of(said) == expected
    assert all(bytes_of(some).decode() == some.span.text for some in said)


@given(cut(thinking_texts.map(str.encode)))
def test_log_probabilities_change_nothing_of_the_spans(tokens: list[bytes]) -> None:
    told, untold = ([some.span for some in say(tokens, logprobs=logprobs, reading=thinker())] for logprobs in (0, None))

    assert joined(told) == joined(untold)
    assert [span for span in told if span.edge] == [span for span in untold if span.edge]


def test_a_token_over_a_border_is_cut_there() -> None:
    said = say([b"a<t", b">b</t>c", b"d"], reading=thinker())

    assert [(some.span.text, bytes_of(some)) for some in said] == [
        ("a", b"a"),
        ("<t>", b"<t>"),
        ("b", b"b"),
        ("</t>", b"</t>"),
        ("c", b"c"),
        ("d", b"d"),
    ]


def test_a_stop_string_does_not_reach_over_a_thought() -> None:
    assert text_of(say([b"a<t>x</t>b", b"c"], ("ab",), None, thinker())) == "a<t>x</t>bc"


@pytest.mark.parametrize("thinking", [None, THINKING], ids=["no thoughts", "thoughts"])
def test_stop_strings_are_not_looked_for_in_calls(thinking: Thinking | None) -> None:
    reading = Reading(Spans(thinking, ToolCalls("<c>", "</c>")))

    assert text_of(say([b"a<", b"c>1c</", b"c>b", b"1a"], ("c", "1"), None, reading)) == "a<c>1c</c>b"


def test_a_stop_string_may_be_complete_only_at_the_end() -> None:
    answer = Output(Sampling(stop=("\ufffd",)))
    said = [*answer.feed(1, b"a\xe2"), *answer.flush()]

    assert (text_of(said), answer.is_stopped) == ("a", True)

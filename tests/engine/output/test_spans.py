"""An output is cut at its delimiters: at tokens where the vocabulary has them as such, else at their characters."""

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrouter.engine.generation_request import Thinking, ToolCalls
from localrouter.engine.output.spans import Span, Spans

THINKING = Thinking("<think>", "</think>")
CALLS = ToolCalls("<call>", "</call>", ('"', '"'), "\\")
TOKENS = {"<think>": 1, "</think>": 2, "<call>": 3, "</call>": 4}
PARTS = ["<think>", "</think>", "<call>", "</call>", "<th", "</", "<<", "a", "\n", "think>", "call>"]
texts = st.lists(st.sampled_from(PARTS), max_size=12).map("".join)
quoted_texts = st.lists(st.sampled_from([*PARTS, '"', "\\"]), max_size=12).map("".join)
places = st.lists(st.integers(0, 99), max_size=8)


def cut(text: str, places: list[int]) -> list[str]:
    at = sorted(place % (len(text) + 1) for place in places)
    return [text[start:stop] for start, stop in zip([0, *at], [*at, len(text)], strict=True)]


def read(spans: Spans, *pieces: str) -> list[Span]:
    """Read text in pieces, none of which is the token of a delimiter."""
    return joined([*(span for piece in pieces for span in spans.feed(piece)), *spans.flush()])


def joined(spans: list[Span]) -> list[Span]:
    """Return the same with neighbours that are one text in one."""
    groups = groupby(enumerate(spans), key=lambda each: (each[1].kind, each[0] if each[1].edge else None))
    together = [[span for _, span in group] for _, group in groups]
    return [group[0]._replace(text="".join(span.text for span in group)) for group in together]


def split(text: str, *, is_open: bool) -> list[Span]:
    """Return the spans as one that sees all of the text at once would, where nothing is quoted."""
    spans, inside = [], "reasoning" if is_open else ""
    ends = {"reasoning": "</think>", "tool_call": "</call>"}
    begins = {"<think>": "reasoning", "<call>": "tool_call"}
    while text:
        found = [(text.find(each), each) for each in ([ends[inside]] if inside else begins) if each in text]
        place, delimiter = min(found, default=(len(text), ""))
        if place:
            spans.append(Span(text[:place], inside or "text"))  # type: ignore[arg-type]
        if delimiter:
            kind, edge = (inside, "end") if inside else (begins[delimiter], "begin")
            spans.append(Span(delimiter, kind, edge))  # type: ignore[arg-type]
            inside = "" if inside else kind
        text = text[place + len(delimiter) :]
    return spans


@given(texts, places, st.booleans())
def test_text_is_cut_at_the_same_places_whatever_its_tokens_are(text: str, places: list[int], is_open: bool) -> None:
    spans = Spans(Thinking("<think>", "</think>", is_open), ToolCalls("<call>", "</call>"))

    assert read(spans, *cut(text, places)) == split(text, is_open=is_open)


@given(quoted_texts, places, st.booleans())
def test_however_quoted_text_is_cut_the_spans_are_the_same(text: str, places: list[int], structured: bool) -> None:
    spans, other = (Spans(THINKING, CALLS, structured=structured) for _ in range(2))

    assert read(spans, *cut(text, places)) == read(other, text)


@given(quoted_texts, places, st.booleans(), st.sampled_from([{}, TOKENS, {"</think>": 2, "<call>": 3}]))
def test_no_character_is_lost(text: str, places: list[int], structured: bool, tokens: dict[str, int]) -> None:
    spans = read(Spans(THINKING, CALLS, tokens, structured=structured), *cut(text, places))

    assert "".join(span.text for span in spans) == text
    assert all(span.text for span in spans)


@given(texts, places)
def test_where_delimiters_are_tokens_their_characters_are_text(text: str, places: list[int]) -> None:
    assert read(Spans(THINKING, CALLS, TOKENS), *cut(text, places)) == ([Span(text)] if text else [])


def test_where_delimiters_are_tokens_these_are_found() -> None:
    spans = Spans(THINKING, CALLS, TOKENS)
    tokens = [("a", 9), ("<think>", 1), ("</think>", 9), ("</think>", 2), ("<call>", 3), ('{"', 9), ("</call>", 4)]

    assert [spans.feed(text, token) for text, token in tokens] == [
        [Span("a")],
        [Span("<think>", "reasoning", "begin")],
        [Span("</think>", "reasoning")],
        [Span("</think>", "reasoning", "end")],
        [Span("<call>", "tool_call", "begin")],
        [Span('{"', "tool_call")],
        [Span("</call>", "tool_call", "end")],
    ]


def test_the_token_of_a_delimiter_out_of_place_is_text_of_its_kind() -> None:
    spans = Spans(THINKING, CALLS, TOKENS)
    tokens = [("</think>", 2), ("<think>", 1), ("<call>", 3), ("<think>", 1)]

    assert joined([span for text, token in tokens for span in spans.feed(text, token)]) == [
        Span("</think>"),
        Span("<think>", "reasoning", "begin"),
        Span("<call><think>", "reasoning"),
    ]


def test_a_character_that_a_delimiter_cuts_off_stands_before_it() -> None:
    assert Spans(THINKING, None, TOKENS).feed("\ufffd<think>", 1) == [
        Span("\ufffd"),
        Span("<think>", "reasoning", "begin"),
    ]


def test_text_that_waited_for_more_of_a_delimiter_comes_before_the_token_of_another() -> None:
    spans = Spans(THINKING, CALLS, {"<think>": 1})

    assert spans.feed("a<ca") == [Span("a")]
    assert spans.feed("<think>", 1) == [Span("<ca"), Span("<think>", "reasoning", "begin")]
    assert spans.feed("</think>ll>") == [Span("</think>", "reasoning", "end"), Span("ll>")]


def test_only_text_that_may_begin_a_delimiter_is_held_back() -> None:
    spans = Spans(THINKING)

    assert spans.feed("a<th") == [Span("a")]
    assert spans.feed("x") == [Span("<thx")]
    assert spans.feed("<think>a</th") == [Span("<think>", "reasoning", "begin"), Span("a", "reasoning")]
    assert spans.flush() == [Span("</th", "reasoning")]


def test_text_outside_delimiters_is_passed_on_at_once_where_these_are_tokens() -> None:
    assert Spans(THINKING, CALLS, TOKENS).feed("a<th") == [Span("a<th")]


def test_inside_reasoning_and_calls_only_their_own_end_is_a_delimiter() -> None:
    assert read(Spans(THINKING, CALLS), "<call><think></think></call><think><call></call></think>") == [
        Span("<call>", "tool_call", "begin"),
        Span("<think></think>", "tool_call"),
        Span("</call>", "tool_call", "end"),
        Span("<think>", "reasoning", "begin"),
        Span("<call></call>", "reasoning"),
        Span("</think>", "reasoning", "end"),
    ]


@pytest.mark.parametrize(
    ("calls", "body"),
    [
        (CALLS, '{"a": "</call>", "b": "\\"</call>", "c": "\\\\"}'),
        (ToolCalls("<call>", "</call>", ("<v>", "</v>")), '<v>"</call>\\</v></v'),
        (ToolCalls("<call>", "</call>", ("|", "|")), "a:|</call>|,b:||"),
    ],
    ids=["JSON", "a pair of tags", "one mark"],
)
def test_the_end_of_a_call_between_quotes_is_text(calls: ToolCalls, body: str) -> None:
    assert read(Spans(None, calls), *f"<call>{body}</call>") == [
        Span("<call>", "tool_call", "begin"),
        Span(body, "tool_call"),
        Span("</call>", "tool_call", "end"),
    ]


def test_a_quote_that_a_call_leaves_open_does_not_reach_into_the_next() -> None:
    spans = Spans(None, CALLS, {"</call>": 4})
    spans.feed('<call>"')
    spans.feed("</call>", 4)

    assert spans.feed("<call>a") == [Span("<call>", "tool_call", "begin"), Span("a", "tool_call")]
    assert spans.feed("</call>", 4) == [Span("</call>", "tool_call", "end")]


@given(texts, places)
def test_from_its_first_text_on_structured_output_is_text(text: str, places: list[int]) -> None:
    answer = f" <think>a</think>\n{{{text}"

    *_, last = read(Spans(THINKING, CALLS, structured=True), *cut(answer, places))

    assert last == Span(f"\n{{{text}")


@given(texts, places)
def test_text_that_only_begins_like_a_delimiter_begins_structured_output_too(text: str, places: list[int]) -> None:
    answer = f"<thin<think>{text}"

    assert read(Spans(THINKING, CALLS, structured=True), *cut(answer, places)) == [Span(answer)]


@given(texts, places)
def test_where_nothing_is_looked_for_everything_is_text(text: str, places: list[int]) -> None:
    assert read(Spans(), *cut(text, places)) == ([Span(text)] if text else [])

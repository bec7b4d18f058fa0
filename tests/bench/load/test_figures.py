"""From bytes to figures, however the bytes were cut; and which streams are not whole."""

import json
from math import isnan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrouter.bench.load.figures import LoadFigures, StreamTimes, percentile


def event(content: Any) -> bytes:
    return b"data: " + json.dumps(content, ensure_ascii=False).encode() + b"\n\n"


def chunk(text: str | None = None, finish: str | None = None) -> bytes:
    delta = {"role": "assistant", "content": ""} if text is None else {"content": text}
    return event({"choices": [{"delta": delta if finish is None else {}, "finish_reason": finish}], "usage": None})


def usage(tokens: int) -> bytes:
    return event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": tokens}})


WHOLE = [chunk(), chunk("a"), chunk("€"), chunk("c"), chunk(finish="length"), usage(3), b"data: [DONE]\n\n"]


def stream(parts: list[bytes], asked: int = 3) -> StreamTimes:
    return StreamTimes.parse(0.0, asked, [(float(second), part) for second, part in enumerate(parts)])


def test_a_whole_stream_has_no_flaw() -> None:
    read = stream(WHOLE)

    assert read.flaw is None
    assert (read.text, read.times, read.completion_tokens) == ("a€c", [1.0, 2.0, 3.0], 3)


@given(st.integers(1, 400))
def test_it_does_not_matter_how_the_bytes_are_cut(size: int) -> None:
    everything = b": keep-alive\n\n" + b"".join(WHOLE).replace(b"\n", b"\r\n")

    read = stream([everything[start : start + size] for start in range(0, len(everything), size)])

    assert (read.text, read.flaw) == ("a€c", None)


@pytest.mark.parametrize(
    ("parts", "flaw"),
    [
        (WHOLE[:-1], "0 times [DONE]"),
        ([*WHOLE, WHOLE[-1]], "2 times [DONE]"),
        ([*WHOLE[:4], *WHOLE[5:]], "0 finish reasons"),
        ([*WHOLE[:5], *WHOLE[4:]], "2 finish reasons"),
        ([*WHOLE[:5], WHOLE[6]], "no usage"),
        ([*WHOLE[:5], usage(2), WHOLE[6]], "length after 2 tokens"),
        ([*WHOLE[:4], chunk(finish="stop"), usage(2), WHOLE[6]], "3 pieces, 2 tokens"),
        ([*WHOLE[:2], event({"error": {"message": "the worker died"}})], "the worker died"),
        ([b"data: {\n\n"], "an event is not JSON"),
        ([b"data: " + b"[" * 100_000 + b"\n\n"], "an event is not JSON"),
        *(([event(odd)], "an event is not a chunk") for odd in (5, {"choices": [5]}, {"choices": [{"delta": 5}]})),
        ([event({"choices": [{"delta": {"content": ["a"]}}]})], "an event is not a chunk"),
    ],
)
def test_a_broken_stream_says_why(parts: list[bytes], flaw: str) -> None:
    assert stream(parts).flaw == flaw


def test_an_answer_may_stop_early() -> None:
    assert stream([*WHOLE[:4], chunk(finish="stop"), usage(4), WHOLE[6]], asked=9).flaw is None


def test_the_rate_counts_from_the_first_token_to_the_last() -> None:
    assert stream(WHOLE).rate == 1.0
    assert stream(WHOLE[:2]).rate is None


def test_figures_sum_up_streams() -> None:
    figures = LoadFigures.of([stream(WHOLE), stream(WHOLE), stream(WHOLE[:-1])], wall=3.0)

    assert (figures.streams, figures.broken, figures.flaw) == (3, 1, "0 times [DONE]")
    assert (figures.tokens, figures.rate, figures.stream_rate) == (9, 3.0, 1.0)
    assert (figures.ttft_p50, figures.gap_max) == (1000.0, 1000.0)


def test_the_first_token_of_later_turns_is_told_apart() -> None:
    streams = [StreamTimes(0.0, 3, turn, ["a"], [second]) for turn, second in enumerate([9.0, 2.0, 4.0])]

    assert (LoadFigures.of(streams, 9.0).ttft_later, LoadFigures.of(streams, 9.0).ttft_p50) == (3000.0, 4000.0)
    assert isnan(LoadFigures.of(streams[:1], 9.0).ttft_later)


def test_percentiles() -> None:
    values = [4.0, 1.0, 3.0, 2.0]

    assert (percentile(values, 0.5), percentile(values, 0.99), percentile(values, 1)) == (2.5, 4.0, 4.0)
    assert percentile(range(1, 201), 0.99) == 198
    assert isnan(percentile([], 0.5))

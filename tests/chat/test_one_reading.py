"""There is one reading of an output: what the engine counts and watches as reasoning, text or calls is what is sent."""

from collections.abc import Sequence

from hypothesis import example, given, settings
from hypothesis import strategies as st
from reading import FAMILIES, TOOLS, Message, cut, fold, places, written

from localrouter.chat.families.family import Family
from localrouter.chat.families.qwen import QWEN3
from localrouter.chat.parsing.parser import Parser
from localrouter.engine.generation_request import Sampling, Thinking
from localrouter.engine.messages import Piece
from localrouter.engine.output.output import Output
from localrouter.engine.output.reasoning_budget import Reading
from localrouter.engine.output.spans import Span, Spans

TAG = '{"tag": "<think> is a tag", "b": 1}'
ORPHAN = "</think><think>a"
QUOTED = written(QWEN3, "now", {"a": QWEN3.call.end})
NO_DELIMITER = 0
"""The token of all other text."""


def delimiters(family: Family) -> list[str]:
    return [family.reasoning.begin, family.reasoning.end, family.call.begin, family.call.end]


@st.composite
def outputs(draw: st.DrawFn) -> tuple[Family, list[tuple[str, int]]]:
    """Texts and tokens of a family: delimiters as tokens and spelled, calls, and parts of these, cut anywhere."""
    family = draw(st.sampled_from(FAMILIES))
    calls = [written(family, "now", arguments) for arguments in ({}, *({"a": each} for each in delimiters(family)))]
    words = st.sampled_from([*delimiters(family), *calls, "a", "\n", "<", "{", '{"a": "', '"}', "thought"])
    spelled = st.builds(cut, st.lists(words, max_size=6).map("".join), places)
    tokens: list[tuple[str, int]] = []
    for pieces in draw(st.lists(spelled, max_size=4)):
        tokens += [(piece, NO_DELIMITER) for piece in pieces]
        number = draw(st.integers(0, 4))
        tokens += [(delimiters(family)[number - 1], number)] if number else []
    return family, tokens


def parsed(family: Family, spans: Sequence[Span]) -> Message:
    parser = Parser(family, TOOLS)
    pieces = [Piece(1, span.text, (), span.kind, span.edge) for span in spans]
    return fold([part for piece in pieces for part in parser.feed(piece)] + parser.flush())


def squeezed(text: str, family: Family) -> str:
    """Return a text without delimiters, titles and white space, of which not all is sent."""
    for word in (*delimiters(family), "thought"):
        text = text.replace(word, "")
    return "".join(text.split())


@settings(max_examples=300)
@given(outputs(), st.booleans(), st.booleans(), st.booleans(), st.booleans())
@example((QWEN3, [(TAG, NO_DELIMITER)]), False, False, True, False).via("two readings: 11 tokens of reasoning")
@example((QWEN3, [(ORPHAN, NO_DELIMITER)]), False, False, True, False).via("two readings: reasoning after text")
@example((QWEN3, [(QUOTED, NO_DELIMITER)]), True, False, False, False).via("two readings: text after a quoted end")
def test_what_the_engine_takes_for_reasoning_or_text_is_sent_as_such(
    output: tuple[Family, list[tuple[str, int]]], has_tools: bool, is_open: bool, structured: bool, has_tokens: bool
) -> None:
    family, tokens = output
    numbers = {text: number for number, text in enumerate(delimiters(family), 1)} if has_tokens else {}
    thinking = Thinking(family.reasoning.begin, family.reasoning.end, is_open)
    reading = Reading(Spans(thinking, family.calls if has_tools else None, numbers, structured=structured))
    answer = Output(Sampling(), reading)

    said = [some for text, number in tokens for some in answer.feed(number, text.encode())] + answer.flush()
    spans = [some.span for some in said]
    reasoning = "".join(span.text for span in spans if span.kind == "reasoning")
    rest = "".join(span.text for span in spans if span.kind != "reasoning")
    message = parsed(family, spans)

    assert "".join(span.text for span in spans) == "".join(text for text, _ in tokens)
    assert squeezed(message.reasoning, family) == squeezed(reasoning, family)
    assert (reading.reasoning_tokens > 0) == ((is_open and bool(tokens)) or bool(reasoning))
    assert message.calls == parsed(family, [span for span in spans if span.kind == "tool_call"]).calls
    if not message.calls:
        assert squeezed(message.content, family) == squeezed(rest, family)

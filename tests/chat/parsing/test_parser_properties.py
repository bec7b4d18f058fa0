"""Whatever a model writes and wherever its text is cut: the same message, and no text lost."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import FAMILIES, TOOLS, Reader, cut, fold, json_values, names, places, read, texts, written

from localrouter.chat.families.family import Family
from localrouter.chat.families.gemma import GEMMA4
from localrouter.chat.families.qwen import QWEN3, QWEN3_CODER
from localrouter.chat.parsing.json_text import JsonScanner, is_json, kind_of

MARKS = [
    mark
    for family in FAMILIES
    for mark in (family.reasoning.begin, family.reasoning.end, family.call.begin, family.call.end)
]
SPELLINGS = [
    '{"name": "now", "arguments": ',
    '{"arguments": {"a": [1, "</tool_call>"]}, "name": "get_weather"',
    "<function=get_weather>",
    "<parameter=city>",
    "<parameter=hours>\n[1",
    "</parameter>",
    "</function>",
    "call:now{",
    'a:<|"|>',
    "b:{c:[1,",
    "thought",
]
families = st.sampled_from(FAMILIES)
arguments = st.dictionaries(names, json_values, max_size=4)
whole_calls = st.builds(written, families, st.sampled_from(list(TOOLS)), arguments)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A call from which something is missing."""
    text = draw(whole_calls)
    start, stop = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
    return text[:start] + text[stop:]


junk = st.sampled_from([*MARKS, *SPELLINGS, *'{}[]",:<>/\\\n t1é']) | texts
answers = st.lists(junk | whole_calls | damaged(), max_size=25).map("".join)


@given(families, answers, places, st.booleans(), st.booleans())
def test_however_an_answer_is_cut_the_message_is_the_same(
    family: Family, answer: str, places: list[int], in_reasoning: bool, has_tools: bool
) -> None:
    options = {"in_reasoning": in_reasoning, "tools": TOOLS if has_tools else None}

    assert read(family, *cut(answer, places), **options) == read(family, answer, **options)


@given(families, answers)
def test_arguments_of_complete_calls_are_json_objects(family: Family, answer: str) -> None:
    for call in read(family, *answer).calls:
        assert not call.complete or isinstance(json.loads(call.arguments), dict)


@given(families, answers.filter(lambda text: not any(mark in text for mark in MARKS)), places)
def test_text_without_delimiters_is_content_to_the_letter(family: Family, answer: str, places: list[int]) -> None:
    assert read(family, *cut(answer, places)).content == answer


@given(families, answers, places)
def test_without_tools_no_text_but_delimiters_titles_and_white_space_is_lost(
    family: Family, answer: str, places: list[int]
) -> None:
    message = read(family, *cut(answer, places), tools=None)

    delimiters = (family.reasoning.begin, family.reasoning.end, "thought")
    left, said = answer, message.reasoning + message.content
    for mark in delimiters:
        left, said = left.replace(mark, ""), said.replace(mark, "")
    assert sorted("".join(said.split())) == sorted("".join(left.split()))


spoken = texts.map(lambda text: f"x{text}x")


def schema_of(arguments: dict[str, Any]) -> dict[str, Any]:
    """A schema that says of each argument that it has the type that it has."""
    properties = {name: {"type": kind_of(json.dumps(value))} for name, value in arguments.items()}
    return {"type": "object", "properties": properties}


@given(families, st.just("") | spoken, st.just("") | spoken, st.lists(arguments, max_size=3), places)
def test_what_a_family_writes_is_what_is_read(
    family: Family, thought: str, content: str, calls: list[dict[str, Any]], places: list[int]
) -> None:
    named = {f"f{number}": arguments for number, arguments in enumerate(calls)}
    answer = f"{family.reasoning.begin}{family.reasoning_title}\n{thought}\n{family.reasoning.end}\n\n{content}\n"
    answer += "\n".join(written(family, name, arguments) for name, arguments in named.items())
    tools = {name: schema_of(arguments) for name, arguments in named.items()}

    message = read(family, *cut(answer, places), tools=tools)

    assert (message.reasoning, message.content.rstrip()) == (thought, content)
    assert {call.name: json.loads(call.arguments) for call in message.calls} == named
    assert all(call.complete for call in message.calls)


@given(families, answers, places)
def test_parts_come_as_early_as_they_would_alone(family: Family, answer: str, places: list[int]) -> None:
    """What was passed on before some place does not depend on how the text before it was cut."""
    reader, other = Reader(family), Reader(family)

    early = fold([part for piece in cut(answer, places) for part in reader.feed(piece)])

    assert fold(other.feed(answer)) == early


@given(json_values.map(json.dumps) | st.text('{}[]",:tru1.e-0 \\u\n', max_size=12))
def test_the_scanner_knows_json_as_the_standard_library_does(text: str) -> None:
    try:
        json.loads(text)
        valid = text == text.strip()
    except ValueError:
        valid = False

    assert is_json(text) == valid


@pytest.mark.parametrize(
    "text", ["[1,]", '{"a":1,}', "{,}", "[,1]", '{"a"}', "{1:2}", "[1}", "01", "1.", "-", "tru", '"\\x"', '"\n"', ""]
)
def test_the_scanner_refuses_what_is_nearly_json(text: str) -> None:
    assert not is_json(text)


@given(json_values.map(json.dumps), places, st.text(" ,}]x", max_size=3))
def test_the_scanner_stops_behind_a_value(text: str, places: list[int], more: str) -> None:
    scanner = JsonScanner()
    taken = 0
    for piece in cut(text + more, places):
        end = scanner.scan(piece, 0)
        taken += end
        if end < len(piece):
            break

    assert taken == len(text)
    assert scanner.may_end


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("unit", ["<", " ", "{", "[", '"'])
def test_what_is_hostile_is_only_text(family: Family, unit: str) -> None:
    answer = unit * 5000

    assert read(family, *answer).content == answer


@pytest.mark.parametrize(
    ("family", "begin"),
    [
        (QWEN3, '<tool_call>{"name": "now", "arguments": {"a": '),
        (QWEN3_CODER, "<tool_call><function=get_weather><parameter=hours>"),
        (GEMMA4, "<|tool_call>call:now{a:"),
    ],
    ids=["json", "parameters", "gemma"],
)
def test_nothing_is_nested_too_deep(family: Family, begin: str) -> None:
    (call,) = read(family, begin + "[" * 100_000).calls

    assert not call.complete

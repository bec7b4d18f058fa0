"""Answers as models of each family write them, and what becomes of every kind of text in them."""

import pytest
from reading import FAMILIES, Call, Message, Reader, parts_of, read

from localrouter.chat.families.family import Family
from localrouter.chat.families.gemma import GEMMA4
from localrouter.chat.families.qwen import QWEN3, QWEN3_CODER
from localrouter.chat.parsing.parser import Arguments, CallBegun, CallEnded, Content, Reasoning

REAL = {
    "Qwen3 thinks and answers": (
        QWEN3,
        "<think>\nOkay, the user asks for 2+2.\n\nThat is 4.\n</think>\n\n2 + 2 = 4.",
        Message("Okay, the user asks for 2+2.\n\nThat is 4.", "2 + 2 = 4."),
    ),
    "Qwen3 was told not to think": (QWEN3, "<think>\n\n</think>\n\nHi!", Message("", "Hi!")),
    "Qwen3 thinks and calls twice": (
        QWEN3,
        "<think>\nI need both.\n</think>\n\n"
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", "days": 1}}\n</tool_call>\n'
        '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
        Message(
            "I need both.", "", [Call("get_weather", '{"city": "Paris", "days": 1}', True), Call("now", "{}", True)]
        ),
    ),
    "Qwen 2.5 says something first": (
        QWEN3,
        'Let me look.\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>',
        Message("", "Let me look.", [Call("get_weather", '{"city": "Paris"}', True)]),
    ),
    "Qwen3-Coder": (
        QWEN3_CODER,
        'I\'ll check the weather.\n\n<tool_call>\n<function=get_weather>\n<parameter=city>\nParis, "FR"\n</parameter>\n'
        "<parameter=days>\n3\n</parameter>\n<parameter=hours>\n[6, 12]\n</parameter>\n</function>\n</tool_call>",
        Message(
            "",
            "I'll check the weather.",
            [Call("get_weather", '{"city": "Paris, \\"FR\\"", "days": 3, "hours": [6, 12]}', True)],
        ),
    ),
    "Qwen3.5 calls without arguments": (
        QWEN3_CODER,
        "<think>\nThe time?\n</think>\n\n<tool_call>\n<function=now>\n</function>\n</tool_call>",
        Message("The time?", "", [Call("now", "{}", True)]),
    ),
    "Gemma 4 thinks and answers": (
        GEMMA4,
        "<|channel>thought\nThe user greets me.\n<channel|>Hello!",
        Message("The user greets me.", "Hello!"),
    ),
    "Gemma 4 was told not to think": (GEMMA4, "<|channel>thought\n<channel|>Hello!", Message("", "Hello!")),
    "Gemma 4 calls twice": (
        GEMMA4,
        '<|tool_call>call:get_weather{city:<|"|>Paris "FR"<|"|>,days:3,hours:[6,12]}<tool_call|>'
        "<|tool_call>call:now{}<tool_call|>",
        Message(
            "",
            "",
            [
                Call("get_weather", '{"city": "Paris \\"FR\\"", "days": 3, "hours": [6, 12]}', True),
                Call("now", "{}", True),
            ],
        ),
    ),
}


@pytest.mark.parametrize(("family", "answer", "message"), REAL.values(), ids=REAL)
def test_real_answers(family: Family, answer: str, message: Message) -> None:
    assert read(family, answer) == message
    assert read(family, *answer) == message


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_an_answer_that_begins_inside_reasoning(family: Family) -> None:
    answer = f"\nhm\n{family.reasoning.end}\n\nHi"

    assert read(family, answer, in_reasoning=True) == Message("hm", "Hi")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_reasoning_that_comes_later_is_reasoning_too(family: Family) -> None:
    begin, end = family.reasoning.begin, family.reasoning.end

    assert read(family, f"Hi {begin}a{end} and {begin}b{end} bye") == Message("ab", "Hi and bye")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_an_end_of_reasoning_without_reasoning_is_content(family: Family) -> None:
    answer = f"a {family.reasoning.end} b"

    assert read(family, answer) == Message("", answer)


def test_without_reasoning_its_delimiters_are_content() -> None:
    assert read(QWEN3, "<think>a</think>", thinks=False) == Message("", "<think>a</think>")


@pytest.mark.parametrize(
    ("answer", "reasoning"),
    [
        ("<|channel>thought\nhm<channel|>", "hm"),
        ("<|channel>\n thought \n hm<channel|>", "hm"),
        ("<|channel>thoughtful<channel|>", "thoughtful"),
        ("<|channel>hm thought\n<channel|>", "hm thought"),
        ("<|channel>thought", ""),
        ("<|channel>tho", "tho"),
    ],
)
def test_only_a_whole_word_is_the_title_of_reasoning(answer: str, reasoning: str) -> None:
    assert read(GEMMA4, *answer).reasoning == reasoning


def test_reasoning_is_passed_on_as_it_comes() -> None:
    reader = Reader(QWEN3)

    assert [reader.feed(piece) for piece in ["<think>\n", "a", " b\n", "<", "c", "</thin", "k>\n"]] == [
        [],
        [Reasoning("a")],
        [Reasoning(" b")],
        [],
        [Reasoning("\n<c")],
        [],
        [],
    ]


def test_white_space_at_the_end_of_an_answer_is_content() -> None:
    assert read(QWEN3, " Hi \n", "\n") == Message("", " Hi \n\n")


def test_contents_around_calls_do_not_run_together() -> None:
    call = '<tool_call>{"name": "now"}</tool_call>'

    assert read(QWEN3, f"\n{call}A.\n{call}\n{call}\nB.\n\n{call}\n").content == "A.\nB."


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_without_tools_calls_are_content(family: Family) -> None:
    answer = f" {family.call.begin}{{}} {family.call.end} "

    assert read(family, answer, tools=None) == Message("", answer)


def test_a_call_is_told_by_name_first_and_then_in_fragments() -> None:
    reader = Reader(QWEN3)

    assert [reader.feed(piece) for piece in ["<tool_call>", '{"name":"now"', ',"arguments":{', '"a":1}', "}"]] == [
        [],
        [CallBegun(0, "now")],
        [Arguments(0, "{")],
        [Arguments(0, '"a":1}')],
        [CallEnded(0, complete=True)],
    ]


@pytest.mark.parametrize(
    ("family", "answer", "content"),
    [(QWEN3, 'Hi <tool_call>{"name":"now"}', "Hi"), (GEMMA4, "Hi <|tool_call>call:now{}<tool_c", "Hi")],
    ids=["missing", "cut"],
)
def test_a_closing_delimiter_that_is_missing_after_a_call_does_no_harm(
    family: Family, answer: str, content: str
) -> None:
    assert read(family, *answer) == Message("", content, [Call("now", "{}", True)])


def test_parts_that_come_together_are_one() -> None:
    answer = '<|tool_call>call:now{a:[1,2,<|"|>b<|"|>]}<tool_call|>Hi <b> <'

    assert parts_of(GEMMA4, [answer]) == [
        CallBegun(0, "now"),
        Arguments(0, '{"a": [1, 2, "b"]}'),
        CallEnded(0, complete=True),
        Content("Hi <b>"),
        Content(" <"),
    ]

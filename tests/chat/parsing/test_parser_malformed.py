"""What cannot be read as a call: nothing is lost, nothing raises, and what comes after is read as ever."""

import pytest
from reading import FAMILIES, Call, Message, read, written

from localrouter.chat.families.family import Family
from localrouter.chat.families.gemma import GEMMA4
from localrouter.chat.families.qwen import QWEN3, QWEN3_CODER

NO_CALLS = {
    "json: a tool that there is not": (QWEN3, '{"name": "rm", "arguments": {"a": 1}}'),
    "json: no name": (QWEN3, '{"arguments": {"a": 1}}'),
    "json: the name is a number": (QWEN3, '{"name": 1}'),
    "json: arguments of another kind before the name": (QWEN3, '{"arguments": [1], "name": "now"}'),
    "json: half of a surrogate pair": (QWEN3, '{"arguments": "{\\"a\\": \\"\\ud800\\"}", "name": "now"}'),
    "json: plain text": (QWEN3, "now()"),
    "json: a list": (QWEN3, '[{"name": "now"}]'),
    "json: nothing": (QWEN3, ""),
    "parameters: a tool that there is not": (QWEN3_CODER, "<function=rm>\n</function>"),
    "parameters: a longer name": (QWEN3_CODER, "<function=nowadays>\n</function>"),
    "parameters: json": (QWEN3_CODER, '{"name": "now"}'),
    "gemma: a tool that there is not": (GEMMA4, "call:rm{a:1}"),
    "gemma: no brackets": (GEMMA4, "call:now"),
}


@pytest.mark.parametrize(("family", "body"), NO_CALLS.values(), ids=NO_CALLS)
def test_what_names_no_tool_is_content_to_the_letter(family: Family, body: str) -> None:
    answer = f"a \n{family.call.begin} {body} {family.call.end}\n b\n"

    assert read(family, answer) == Message("", answer)
    assert read(family, *answer) == Message("", answer)


BROKEN = {
    "json: not JSON": (QWEN3, '{"name": "now", "arguments": {"a": tru !}}', "now", '{"a": tru', "!}}"),
    "json: no object": (QWEN3, '{"name": "now", "arguments": [1]}', "now", "", ', "arguments": [1]}'),
    "json: a string of no object": (QWEN3, '{"name": "now", "arguments": "a"}', "now", "", ', "arguments": "a"}'),
    "json: a string of a list": (QWEN3, '{"name": "now", "arguments": "[]"}', "now", "", ', "arguments": "[]"}'),
    "json: two names": (QWEN3, '{"name": "now", "name": "now"}', "now", "", ', "name": "now"}'),
    "json: more after the arguments": (QWEN3, '{"name": "now", "arguments": {} ?}', "now", "{}", "?}"),
    "parameters: no parameter": (QWEN3_CODER, "<function=now>\nfoo</function>", "now", "{", "foo</function>"),
    "parameters: no key": (QWEN3_CODER, "<function=now><parameter=></function>", "now", "{", "<parameter=></function>"),
    "parameters: a broken key": (QWEN3_CODER, "<function=now><parameter=a\nb>", "now", "{", "<parameter=a\nb>"),
    "gemma: a bare word": (GEMMA4, "call:now{a:Paris}", "now", '{"a": ', "Paris}"),
    "gemma: half a number": (GEMMA4, "call:now{a:1.x}", "now", '{"a": 1.', "x}"),
    "gemma: no key": (GEMMA4, "call:now{:1}", "now", "{", ":1}"),
    "gemma: a comma too many": (GEMMA4, "call:now{a:[1,]}", "now", '{"a": [1, ', "]}"),
    "gemma: the wrong bracket": (GEMMA4, "call:now{a:[1}}", "now", '{"a": [1', "}}"),
}


@pytest.mark.parametrize(("family", "body", "name", "arguments", "rest"), BROKEN.values(), ids=BROKEN)
def test_a_named_call_ends_where_it_breaks_and_the_rest_is_content(
    family: Family, body: str, name: str, arguments: str, rest: str
) -> None:
    answer = f"a\n{family.call.begin}{body}{family.call.end}b"
    message = read(family, *answer)

    (call,) = message.calls
    assert (call.name, call.arguments.rstrip(), call.complete) == (name, arguments.rstrip(), False)
    assert message.content == f"a\n{rest}{family.call.end}b"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_call_after_a_broken_one_is_read(family: Family) -> None:
    broken = f"{family.call.begin}?{family.call.end}"

    message = read(family, *f"{broken}{written(family, 'now', {})}")

    assert message == Message("", broken, [Call("now", "{}", True)])


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
@pytest.mark.parametrize("inside", ["call", "reasoning"])
def test_nothing_begins_inside_a_call(family: Family, inside: str) -> None:
    answer = f"{family.call.begin}\n{getattr(family, inside).begin}x{family.call.end}"

    assert read(family, *answer) == Message("", answer)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_what_follows_a_whole_call_before_its_end_is_content(family: Family) -> None:
    call = written(family, "now", {}).removesuffix(family.call.end)

    message = read(family, *f"{call} </tool_c{family.call.end}")

    assert message == Message("", f"</tool_c{family.call.end}", [Call("now", "{}", True)])


CUT = {
    "json: in the arguments": (QWEN3, '<tool_call>\n{"name": "now", "arguments": {"a": "b', '{"a": "b'),
    "json: before them": (QWEN3, '<tool_call>\n{"name": "now", "argu', ""),
    "parameters: in a text": (
        QWEN3_CODER,
        "<tool_call><function=get_weather><parameter=city>\nPa\n</para",
        '{"city": "Pa',
    ),
    "parameters: in a number": (QWEN3_CODER, "<tool_call><function=get_weather><parameter=days>\n12", "{"),
    "gemma: in a string": (GEMMA4, '<|tool_call>call:now{a:<|"|>Pa<|', '{"a": "Pa'),
    "gemma: in a number": (GEMMA4, "<|tool_call>call:now{a:[12", '{"a": [12'),
}


@pytest.mark.parametrize(("family", "answer", "arguments"), CUT.values(), ids=CUT)
def test_a_call_that_the_end_cuts_off_has_the_arguments_that_came(family: Family, answer: str, arguments: str) -> None:
    message = read(family, *answer)

    assert [(call.arguments, call.complete) for call in message.calls] == [(arguments, False)]
    assert message.content == ""


@pytest.mark.parametrize(
    ("family", "answer"),
    [
        (QWEN3, 'a \n<tool_call>\n{"na'),
        (QWEN3, 'a <tool_call>{"arguments": {"a": 1}'),
        (QWEN3_CODER, "a <tool_call>\n<function=no"),
        (GEMMA4, "a <|tool_call>call:"),
        (GEMMA4, "a <|tool_ca"),
    ],
)
def test_a_call_that_the_end_cuts_off_before_its_name_is_content(family: Family, answer: str) -> None:
    assert read(family, *answer) == Message("", answer)

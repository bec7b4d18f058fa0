"""Any conversation of OpenAI's becomes one that the model's template takes, changed only where it must be."""

from collections.abc import Sequence
from typing import Any

import pytest

from localrouter.chat.families.family import Family
from localrouter.chat.families.gemma import GEMMA4
from localrouter.chat.families.prompted_tools import FALLBACK
from localrouter.chat.families.qwen import QWEN3
from localrouter.chat.prompt.conversation import Conversation, conversation_of
from localrouter.chat.prompt.fallback_template import CHATML
from localrouter.chat.prompt.history import normalised
from localrouter.chat.prompt.template import ChatTemplate
from localrouter.errors import InvalidRequest
from localrouter.schema.chat_messages import Message

STRICT = """\
{%- for message in messages %}
    {%- if message.role == 'system' %}{{ raise_exception('No system') }}{% endif %}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('No alternation') }}{% endif %}
    {{- '<' + message.role + '>' + message.content }}
{%- endfor %}"""
"""As strict as Gemma 2's."""

SYSTEM_FIRST = """\
{%- for message in messages %}
    {%- if message.role == 'system' and not loop.first %}{{ raise_exception('System first') }}{% endif %}
    {{- '<' + message.role + '>' + message.content }}
{%- endfor %}
{%- if messages | selectattr('role', 'equalto', 'user') | list | length == 0 %}
    {{- raise_exception('No user query') }}
{%- endif %}"""
"""As strict as Qwen3.5's."""

NO_EMPTY = """\
{%- for message in messages %}
    {%- if message.role == 'assistant' and not (message.content or message.tool_calls) -%}
        {{ raise_exception('Empty') }}
    {%- endif %}
    {{- '<' + message.role + '>' + message.content }}
{%- endfor %}"""
"""As strict as Ministral 3's."""

TOOLS = """\
{%- for tool in tools or [] %}{{ tool | tojson }}{% endfor %}
{%- for message in messages %}
    {{- '<' + message.role + '>' + (message.name or '') + message.content + '</think>' }}
    {%- for call in message.tool_calls or [] %}{{ call.function.arguments | tojson }}{% endfor %}
{%- endfor %}"""

NO_REPEATS = """\
{%- for message in messages %}
    {%- if loop.previtem and loop.previtem.role == message.role != 'tool' %}{{ raise_exception('Twice') }}{% endif %}
{%- endfor %}"""

TOOL = {"type": "function", "function": {"name": "add", "description": "", "parameters": {"type": "object"}}}


def said(role: str, content: str | None = "", **fields: object) -> dict[str, Any]:
    return {"role": role, "content": content, **fields}


def call(identifier: str, arguments: str = "{}", name: str = "add") -> dict[str, Any]:
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}}


def fitted(
    source: str,
    messages: Sequence[dict[str, Any]],
    *,
    tools: Sequence[dict[str, Any]] = (),
    family: Family = FALLBACK,
    continue_final: bool = False,
) -> Conversation:
    turns = normalised([Message.model_validate(message) for message in messages])
    return conversation_of(turns, tools, ChatTemplate(source), family, continue_final=continue_final)


def texts(conversation: Conversation) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in conversation.messages]


def steps(conversation: Conversation) -> list[tuple[str, int | None]]:
    return [(step.what, step.where) for step in conversation.steps]


@pytest.mark.parametrize("source", [STRICT, SYSTEM_FIRST, CHATML])
def test_what_a_template_takes_stays_as_it_is(source: str) -> None:
    messages = [said("user", "a"), said("assistant", ""), said("user", "b")]

    conversation = fitted(source, messages)

    assert conversation.messages == messages
    assert conversation.steps == []


def test_parts_are_one_text_and_a_refusal_is_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    refusal = said("assistant", None, refusal="No.")

    conversation = fitted(CHATML, [said("user", parts), refusal, said("assistant", "Oh", refusal="No.")])  # type: ignore[arg-type]

    assert texts(conversation) == [("user", "ab"), ("assistant", "No."), ("assistant", "Oh\n\nNo.")]


def test_developers_speak_as_the_system_where_the_template_does_not_know_them() -> None:
    conversation = fitted(CHATML, [said("developer", "a"), said("user", "b"), said("developer", "c")])

    assert texts(conversation) == [("system", "a"), ("user", "b"), ("system", "c")]
    assert steps(conversation) == [("developer_as_system", 0), ("developer_as_system", 2)]


def test_a_developer_in_the_first_place_is_left_to_a_template_that_knows_the_role() -> None:
    template = CHATML.replace("message.role", "('system' if message.role == 'developer' else message.role)")
    messages = [said("developer", "a"), said("user", "b")]

    conversation = fitted(template, [*messages, said("developer", "c")])

    assert conversation.messages == [*messages, said("system", "c")]
    assert steps(conversation) == [("developer_as_system", 2)]


def test_a_system_message_that_a_template_leaves_out_is_moved_to_where_it_is_shown() -> None:
    silent = "{% for m in messages %}{% if loop.first or m.role != 'system' %}{{ m.content }}{% endif %}{% endfor %}"

    assert texts(fitted(silent, [said("user", "a"), said("system", "b")])) == [("system", "b"), ("user", "a")]


def test_only_system_messages_that_moved_are_told_of() -> None:
    conversation = fitted(SYSTEM_FIRST, [said("system", "a"), said("user", "b"), said("system", "c")])

    assert texts(conversation) == [("system", "a\n\nc"), ("user", "b")]
    assert steps(conversation) == [("merged_system", 2)]


def test_system_messages_are_joined_in_the_first_place() -> None:
    conversation = fitted(SYSTEM_FIRST, [said("user", "a"), said("system", "b"), said("system", "c")])

    assert texts(conversation) == [("system", "b\n\nc"), ("user", "a")]
    assert steps(conversation) == [("merged_system", 1), ("merged_system", 2)]


def test_the_user_says_a_system_message_that_the_template_does_not_take() -> None:
    conversation = fitted(STRICT, [said("system", "Be kind."), said("user", "Hi")])

    assert texts(conversation) == [("user", "Be kind.\n\nHi")]
    assert steps(conversation) == [("system_in_user", 0)]


def test_a_system_message_alone_is_asked_by_the_user() -> None:
    assert texts(fitted(STRICT, [said("system", "Speak!")])) == [("user", "Speak!")]
    assert texts(fitted(SYSTEM_FIRST, [said("system", "Speak!")])) == [("system", "Speak!"), ("user", "")]
    assert fitted(CHATML, [said("system", "Speak!")]).steps == []


@pytest.mark.parametrize("source", [STRICT, SYSTEM_FIRST])
def test_an_empty_turn_of_the_user_comes_before_an_assistant_who_speaks_alone(source: str) -> None:
    conversation = fitted(source, [said("assistant", "Welcome!")])

    assert texts(conversation) == [("user", ""), ("assistant", "Welcome!")]
    assert steps(conversation) == [("added_user", None)]


def test_an_assistant_who_begins_has_the_system_message_before_it() -> None:
    conversation = fitted(STRICT, [said("system", "s"), said("assistant", "a"), said("user", "u")])

    assert texts(conversation) == [("user", "s"), ("assistant", "a"), ("user", "u")]
    assert steps(conversation) == [("added_user", None), ("system_in_user", 0)]


def test_turns_of_one_role_are_joined_where_the_template_wants_alternation() -> None:
    messages = [said("user", "a"), said("user", "b"), said("assistant", "c"), said("assistant", "d")]

    conversation = fitted(STRICT, messages)

    assert texts(conversation) == [("user", "a\n\nb"), ("assistant", "c\n\nd")]
    assert steps(conversation) == [("joined_turns", 1), ("joined_turns", 3)]
    assert fitted(CHATML, messages).messages == messages


def test_turns_are_joined_with_their_reasoning_and_calls_but_results_are_not() -> None:
    messages = [
        said("assistant", "a", reasoning_content="b"),
        said("assistant", "c", reasoning_content="d", tool_calls=[call("x"), call("y")]),
        said("tool", "1", tool_call_id="x"),
        said("tool", "2", tool_call_id="y"),
    ]

    conversation = fitted(NO_REPEATS + TOOLS, messages, family=QWEN3)

    joined, *results = conversation.messages
    assert (joined["content"], joined["reasoning_content"]) == ("a\n\nc", "b\n\nd")
    assert [called["id"] for called in joined["tool_calls"]] == ["x", "y"]
    assert [result["content"] for result in results] == ["1", "2"]


def test_answers_without_text_and_calls_are_dropped_where_the_template_rejects_them() -> None:
    messages = [said("user", "a"), said("assistant", None), said("user", "b"), said("assistant", "", reasoning="c")]

    conversation = fitted(NO_EMPTY, messages)

    assert texts(conversation) == [("user", "a"), ("user", "b")]
    assert steps(conversation) == [("dropped_empty", 1), ("dropped_empty", 3)]
    assert texts(fitted(NO_EMPTY, [said("assistant", None)])) == [("user", "")]
    assert texts(fitted(NO_EMPTY, messages[:2], continue_final=True)) == [("user", "a"), ("assistant", "")]
    assert fitted(CHATML, messages[:2]).steps == []


def test_names_stand_before_the_text_where_the_template_does_not_show_them() -> None:
    conversation = fitted(CHATML, [said("user", "Hi", name="Ann")])

    assert texts(conversation) == [("user", "Ann: Hi")]
    assert steps(conversation) == [("name_in_text", 0)]


def test_names_are_left_to_a_template_that_shows_them() -> None:
    assert fitted(TOOLS, [said("user", "Hi", name="Ann")]).messages == [said("user", "Hi", name="Ann")]


def test_arguments_are_mappings_and_results_know_their_call() -> None:
    messages = [
        said("user", "1+1?"),
        said("assistant", None, tool_calls=[call("x", '{"a": 12345678901234567890123}'), call("y", "")]),
        said("tool", "2", tool_call_id="y"),
        said("tool", "3", tool_call_id="x"),
    ]

    conversation = fitted(TOOLS, messages, tools=[TOOL], family=QWEN3)

    assert conversation.tools == [TOOL]
    assert conversation.steps == []
    assert [called["function"]["arguments"] for called in conversation.messages[1]["tool_calls"]] == [
        {"a": 12345678901234567890123},
        {},
    ]
    assert conversation.messages[1]["content"] == ""
    assert conversation.messages[2:] == [
        {"role": "tool", "content": "2", "tool_call_id": "y", "name": "add"},
        {"role": "tool", "content": "3", "tool_call_id": "x", "name": "add"},
    ]


@pytest.mark.parametrize(
    "arguments", ["no JSON", "[1]", '"text"', '{"a": NaN}', '{"a": 1e999}', '{"a": "\\ud800"}', "[" * 9999]
)
def test_arguments_that_are_no_object_lose_nothing(arguments: str) -> None:
    messages = [said("assistant", None, tool_calls=[call("x", arguments)]), said("tool", "", tool_call_id="x")]

    conversation = fitted(TOOLS, messages, family=QWEN3)

    assert conversation.messages[0]["tool_calls"][0]["function"]["arguments"] == {"arguments": arguments}
    assert steps(conversation) == [("arguments_as_text", 0)]


def test_the_older_form_of_calls_and_results_is_the_same_conversation() -> None:
    messages = [
        said("assistant", None, function_call={"name": "add", "arguments": '{"a": 1}'}),
        said("function", "2", name="add"),
    ]

    conversation = fitted(TOOLS, messages, family=QWEN3)

    assert conversation.messages == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{**call("call_0"), "function": {"name": "add", "arguments": {"a": 1}}}],
        },
        {"role": "tool", "content": "2", "tool_call_id": "call_0", "name": "add"},
    ]
    assert conversation.steps == []


def test_tools_calls_and_results_are_text_where_the_template_has_no_place_for_them() -> None:
    messages = [
        said("system", "Be kind."),
        said("user", "1+1?"),
        said("assistant", "Let me see.", tool_calls=[call("x", '{"a": "é"}'), call("y")]),
        said("tool", "2", tool_call_id="x"),
        said("tool", "3", tool_call_id="y"),
        said("user", "<tool_response>"),
    ]

    conversation = fitted(CHATML, messages, tools=[TOOL])

    system, *others = texts(conversation)
    assert conversation.tools is None
    assert system[1].startswith("Be kind.\n\n")
    assert '{"name": "add", "description": "", "parameters": {"type": "object"}}' in system[1]
    assert others == [
        ("user", "1+1?"),
        (
            "assistant",
            'Let me see.\n<tool_call>\n{"name": "add", "arguments": {"a": "é"}}\n</tool_call>\n'
            '<tool_call>\n{"name": "add", "arguments": {}}\n</tool_call>',
        ),
        ("user", "<tool_response>\n2\n</tool_response>\n<tool_response>\n3\n</tool_response>"),
        ("user", "<tool_response>"),
    ]
    assert steps(conversation) == [
        ("calls_in_text", 2),
        ("result_in_text", 3),
        ("result_in_text", 4),
        ("tools_in_system", 0),
    ]


def test_tools_are_text_too_where_the_template_spells_calls_in_a_way_that_we_do_not_read() -> None:
    conversation = fitted(TOOLS, [said("user", "Hi")], tools=[TOOL], family=FALLBACK)

    assert conversation.tools is None
    assert steps(conversation) == [("tools_in_system", None)]


def test_tools_are_text_where_the_template_does_not_ask_for_them() -> None:
    assert steps(fitted(CHATML, [said("user", "Hi")], tools=[TOOL], family=QWEN3)) == [("tools_in_system", None)]


@pytest.mark.parametrize("function", [{"name": "now"}, {"name": "now", "parameters": {"type": "object"}}])
def test_a_function_without_parameters_has_none_where_the_template_looks_for_them(function: dict[str, Any]) -> None:
    looks = "{% for tool in tools or [] %}{{ tool.function.parameters.properties | tojson }}{% endfor %}" + TOOLS
    bare = {"type": "function", "function": function}

    conversation = fitted(looks, [said("user", "Hi")], tools=[bare, TOOL], family=QWEN3)

    assert conversation.tools is not None
    assert [tool["function"]["parameters"] for tool in conversation.tools] == [{"type": "object", "properties": {}}] * 2
    assert steps(conversation) == [("added_parameters", None)]


def test_a_function_without_parameters_is_left_to_a_template_that_takes_it() -> None:
    bare = {"type": "function", "function": {"name": "now"}}

    conversation = fitted(TOOLS, [said("user", "Hi")], tools=[bare], family=QWEN3)

    assert (conversation.tools, steps(conversation)) == ([bare], [])


def test_a_template_without_a_system_message_has_the_tools_in_the_users_first_turn() -> None:
    conversation = fitted(STRICT, [said("user", "Hi")], tools=[TOOL])

    assert [role for role, _ in texts(conversation)] == ["user"]
    assert conversation.messages[0]["content"].endswith("\n\nHi")


def test_reasoning_is_handed_over_by_itself() -> None:
    messages = [said("user", "Hi"), said("assistant", "a", reasoning="b"), said("assistant", "", reasoning_content="c")]

    assert [message.get("reasoning_content") for message in fitted(CHATML, messages).messages] == [None, "b", "c"]


@pytest.mark.parametrize(
    ("family", "content"),
    [(QWEN3, "<think>\nHm.\n</think>\n\nHello</think>!"), (GEMMA4, "<|channel>thought\nHm.<channel|>Hello</think>!")],
)
def test_reasoning_at_the_beginning_of_an_answer_is_cut_off_where_the_template_knows_reasoning(
    family: Family, content: str
) -> None:
    messages = [said("user", "Hi"), said("assistant", content)]

    conversation = fitted(TOOLS.replace("</think>", family.reasoning.end), messages, family=family)

    assert conversation.messages[1] == said("assistant", "Hello</think>!", reasoning_content="Hm.")
    assert steps(conversation) == [("thought_split", 1)]
    assert fitted(CHATML, messages, family=family).messages == messages


def test_delimiters_of_reasoning_elsewhere_are_text() -> None:
    thought = said("assistant", "<think>c</think>", reasoning_content="d")
    messages = [
        said("user", "<think>a</think>"),
        thought,
        said("assistant", "a <think>b</think>"),
        said("assistant", "<think>"),
    ]

    assert fitted(TOOLS, messages, family=QWEN3).messages == messages


X = said("assistant", None, tool_calls=[call("x"), call("z")])
OLD = said("assistant", None, function_call={"name": "add", "arguments": ""})


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([said("tool", "1", tool_call_id="x")], "messages[0].tool_call_id"),
        ([X, said("tool", "1", tool_call_id="y")], "messages[1].tool_call_id"),
        ([X, said("tool", "1", tool_call_id="x"), said("tool", "1", tool_call_id="x")], "messages[2].tool_call_id"),
        ([said("assistant", None, tool_calls=[call("x"), call("x")])], "messages[0].tool_calls[1].id"),
        ([said("function", "1", name="add")], "messages[0].name"),
        ([OLD, said("function", "1", name="sub")], "messages[1].name"),
        ([OLD, said("tool", "1", tool_call_id="call_0")], "messages[1].tool_call_id"),
        ([{**OLD, "tool_calls": [call("x")]}], "messages[0].function_call"),
    ],
)
def test_calls_and_results_that_do_not_belong_together_are_refused(messages: list[dict[str, Any]], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        fitted(TOOLS, messages)
    assert (caught.value.param, caught.value.reason) == (param, "invalid_value")


@pytest.mark.parametrize(
    "last", [said("user", "Hi"), said("assistant", "") | {"function_call": {"name": "a", "arguments": "{}"}}]
)
def test_only_an_answer_without_calls_can_be_continued(last: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        fitted(CHATML, [last], continue_final=True)
    assert caught.value.param == "continue_final_message"

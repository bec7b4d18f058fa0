"""Histories of interrupted agents: every call has one result, and no result is believed that has no call."""

from typing import Any

import pytest

from localrouter.chat.prompt.history import normalised
from localrouter.chat.prompt.normalised_message import NormalisedMessage
from localrouter.chat.prompt.tool_results import NO_RESULT
from localrouter.errors import InvalidRequest
from localrouter.schema.chat_messages import Message

USER = {"role": "user", "content": "u"}


def caller(*ids: str | None, **fields: object) -> dict[str, Any]:
    """Return an assistant message with calls of functions `f0`, `f1`, ..."""
    calls = [{"id": name, "function": {"name": f"f{place}"}} for place, name in enumerate(ids)]
    return {"role": "assistant", "content": None, "tool_calls": calls, **fields}


def result(identifier: str | None, content: object = "r", **fields: object) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identifier, "content": content, **fields}


def history(*messages: dict[str, Any]) -> list[NormalisedMessage]:
    return normalised([Message.model_validate(message) for message in messages])


def results(messages: list[NormalisedMessage]) -> list[tuple[str, str]]:
    """Return the function and the text of each result."""
    return [(message.call.name, message.text) for message in messages if message.call]


def steps(messages: list[NormalisedMessage]) -> list[tuple[str, int | None]]:
    return [(change.what, change.where) for message in messages for change in message.changes]


def roles(messages: list[NormalisedMessage]) -> list[str]:
    return [message.role for message in messages]


@pytest.mark.parametrize("after", [[], [USER], [{"role": "assistant", "content": "a"}], [caller("y"), result("y")]])
def test_a_call_without_a_result_gets_one_that_says_so(after: list[dict[str, Any]]) -> None:
    messages = history(USER, caller("x"), *after)

    assert roles(messages)[:3] == ["user", "assistant", "tool"]
    assert results(messages)[0] == ("f0", NO_RESULT)
    assert steps(messages) == [("added_result", 1)]
    assert "'x'" in messages[2].changes[0].why


def test_the_results_of_a_message_are_in_the_order_of_its_calls_where_one_is_added() -> None:
    messages = history(caller("x", "y", "z"), result("z", "3"), result("y", "2"), USER)

    assert results(messages) == [("f0", NO_RESULT), ("f1", "2"), ("f2", "3")]
    assert steps(messages) == [("added_result", 0)]


def test_results_that_are_complete_stay_in_their_order() -> None:
    messages = history(caller("x", "y"), result("y", "2"), result("x", "1"))

    assert results(messages) == [("f1", "2"), ("f0", "1")]
    assert steps(messages) == []


def test_a_result_after_other_messages_is_moved_up_to_its_call() -> None:
    messages = history(
        caller("x", "y"), result("y", "2"), USER, {"role": "assistant", "content": "a"}, result("x", "1")
    )

    assert roles(messages) == ["assistant", "tool", "tool", "user", "assistant"]
    assert results(messages) == [("f0", "1"), ("f1", "2")]
    assert steps(messages) == [("moved_result", 4)]


def test_calls_of_two_messages_in_a_row_have_their_results_each() -> None:
    messages = history(caller("x"), caller("y"), result("x", "1"), result("y", "2"))

    assert roles(messages) == ["assistant", "tool", "assistant", "tool"]
    assert steps(messages) == [("moved_result", 2)]


def test_of_two_open_calls_with_one_id_the_later_has_the_result() -> None:
    messages = history(caller("x"), USER, caller("x"), result("x", "1"))

    assert results(messages) == [("f0", NO_RESULT), ("f0", "1")]
    assert steps(messages) == [("added_result", 0)]


@pytest.mark.parametrize("missing", [None, ""])
def test_results_without_an_id_are_those_of_the_calls_in_their_order(missing: str | None) -> None:
    messages = history(caller(missing, "y", missing), result(missing, "1"), result("y", "2"), result(missing, "3"))

    assert results(messages) == [("f0", "1"), ("f1", "2"), ("f2", "3")]
    assert steps(messages) == [("matched_result", 1), ("matched_result", 3)]
    assert [call.id for call in messages[0].calls] == ["call_0_0", "y", "call_0_2"]


@pytest.mark.parametrize("field", ["tool_name", "name"])
def test_a_result_without_an_id_may_name_its_function(field: str) -> None:
    messages = history(caller(None, None), result(None, "2", **{field: "f1"}), result(None, "1", **{field: "f0"}))

    assert results(messages) == [("f1", "2"), ("f0", "1")]


def test_a_call_of_the_older_form_without_a_result_gets_one_too() -> None:
    messages = history({"role": "assistant", "content": None, "function_call": {"name": "f"}}, USER)

    assert results(messages) == [("f", NO_RESULT)]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([result("x")], "messages[0].tool_call_id"),
        ([result(None)], "messages[0].tool_call_id"),
        ([USER, result(None, tool_name="f0")], "messages[1].tool_call_id"),
        ([caller(None), result("call_0_0")], "messages[1].tool_call_id"),
        ([caller(None), result(None), result(None)], "messages[2].tool_call_id"),
        ([caller(None), result(None, tool_name="f1")], "messages[1].tool_call_id"),
        ([caller(None), USER, result(None)], "messages[2].tool_call_id"),
        ([caller("x"), USER, result(None, tool_name="f0")], "messages[2].tool_call_id"),
        ([caller("x"), result(None), result("x")], "messages[2].tool_call_id"),
        ([caller("x"), result("x"), USER, result("x")], "messages[3].tool_call_id"),
        ([caller("x"), USER, result("x"), result("x")], "messages[3].tool_call_id"),
        ([result("x"), caller("x")], "messages[0].tool_call_id"),
    ],
)
def test_a_result_that_no_call_waits_for_is_rejected(messages: list[dict[str, Any]], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        history(*messages)
    assert (caught.value.param, caught.value.reason) == (param, "invalid_value")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"b": 1, "a": ["é"]}, '{"b":1,"a":["é"]}'),
        (4, "4"),
        (False, "false"),
        (["a", "b"], '["a","b"]'),
        ([1, {"type": "text", "text": "a"}], '[1,{"type":"text","text":"a"}]'),
        ([{"type": "file", "name": "a.txt"}], '[{"type":"file","name":"a.txt"}]'),
        ([{"type": ["text"]}], '[{"type":["text"]}]'),
        ({"type": "text", "text": "a"}, '{"type":"text","text":"a"}'),
    ],
)
def test_a_result_that_is_no_text_is_shown_as_json(content: object, text: str) -> None:
    messages = history(caller("x"), result("x", content))

    assert results(messages) == [("f0", text)]
    assert steps(messages) == [("result_as_json", 1)]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ([], ""),
        ([{"type": "text", "text": "a"}, {"type": "output_text", "text": "b"}], "ab"),
        (["a", {"type": "text", "text": "b"}, "c"], "abc"),
    ],
)
def test_a_result_of_text_and_parts_is_text(content: object, text: str) -> None:
    messages = history(caller("x"), result("x", content))

    assert results(messages) == [("f0", text)]
    assert steps(messages) == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [({"a": {"b": [1.5, None]}}, '{"a":{"b":[1.5,null]}}'), ({}, "{}"), ("", ""), (None, ""), ([1], "[1]"), (0, "0")],
)
def test_arguments_may_be_any_json(arguments: object, text: str) -> None:
    call = {"id": "x", "function": {"name": "f", "arguments": arguments}}

    [message, _] = history({"role": "assistant", "tool_calls": [call]})

    assert message.calls[0].arguments == text

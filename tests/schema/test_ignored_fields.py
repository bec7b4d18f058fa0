"""Annotations below the top level of a request are accepted and named; a million of them are no attack."""

import json
from typing import Any

import pytest

from localrouter.api.request_parsing import parse_body
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.ignored_fields import MAX_FIELDS, MORE, ignored_fields

FUNCTION = {"name": "f"}
CALL = {"id": "x", "function": {"name": "f"}}
ASSISTANT = {"role": "assistant", "content": "a"}


def ignored(**fields: object) -> list[str]:
    """Return the paths of the ignored fields of a request."""
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return [each.field for each in ignored_fields(parse_body(json.dumps(body).encode(), ChatRequest))]


def with_message(**message: Any) -> list[str]:
    return ignored(messages=[{"role": "user", "content": "Hi", **message}])


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"tools": [{"type": "function", "function": FUNCTION, "x": 1}]}, "tools[].x"),
        ({"tools": [{"type": "function", "function": FUNCTION | {"required": []}}]}, "tools[].function.required"),
        ({"functions": [FUNCTION | {"x": 1}]}, "functions[].x"),
        ({"tool_choice": {"type": "function", "function": FUNCTION, "x": 1}}, "tool_choice.x"),
        ({"tool_choice": {"type": "function", "function": FUNCTION | {"x": 1}}}, "tool_choice.function.x"),
        ({"function_call": {"name": "f", "x": 1}}, "function_call.x"),
        ({"response_format": {"type": "text", "x": 1}}, "response_format.x"),
        ({"response_format": {"type": "json_object", "x": 1}}, "response_format.x"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "x": 1}}},
            "response_format.json_schema.x",
        ),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x"),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": FUNCTION, "x": 1}]},
                }
            },
            "tool_choice.allowed_tools.tools[].x",
        ),
    ],
)
def test_an_unknown_field_below_the_top_is_named(fields: dict[str, object], path: str) -> None:
    assert ignored(**fields) == [path]


@pytest.mark.parametrize(
    ("message", "paths"),
    [
        ({"id": 1, "opts": {}}, ["messages[].id", "messages[].opts"]),
        ({"timestamp": "now", "metadata": 1}, ["messages[].timestamp", "messages[].metadata"]),
        ({"cache_control": {"type": "ephemeral"}}, ["messages[].cache_control"]),
        ({"content": [{"type": "text", "text": "", "cache_control": 1}]}, ["messages[].content[].cache_control"]),
        ({"content": [{"type": "text", "text": "", "x": 1}] * 2}, ["messages[].content[].x"]),
        (
            {"role": "assistant", "tool_calls": [CALL | {"extra_content": {}, "x": 1}]},
            ["messages[].tool_calls[].extra_content", "messages[].tool_calls[].x"],
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "x": 1}}]},
            ["messages[].tool_calls[].function.x"],
        ),
        ({"role": "assistant", "function_call": {"name": "f", "x": 1}}, ["messages[].function_call.x"]),
        ({"x": None, "id": None, "images": None, "weight": None, "prefix": None}, []),
        ({"images": [], "weight": 1}, ["messages[].images", "messages[].weight"]),
        ({"x" * 200: 1}, [f"messages[].{'x' * 97}..."]),
        ({"tool_name": "f"}, ["messages[].tool_name"]),
    ],
)
def test_a_field_of_a_message_without_effect_is_named(message: dict[str, object], paths: list[str]) -> None:
    assert with_message(**message) == paths


def test_blocks_of_reasoning_are_named_where_they_are_not_read() -> None:
    blocks = {"reasoning_details": [{"text": "Hm."}], "thinking_blocks": [{"thinking": "Hm."}]}

    assert with_message(role="assistant", **blocks, reasoning="Hm.") == [
        "messages[].reasoning_details",
        "messages[].thinking_blocks",
    ]
    assert with_message(role="assistant", **blocks) == ["messages[].thinking_blocks"]
    assert with_message(role="assistant", reasoning_details=[{"data": "x"}]) == ["messages[].reasoning_details"]
    assert with_message(reasoning_details=[{"text": "Hm."}]) == ["messages[].reasoning_details"]


def test_the_name_of_a_function_is_named_where_the_call_has_it() -> None:
    called = {"role": "assistant", "tool_calls": [CALL]}
    result = {"role": "tool", "content": "", "name": "f", "tool_name": "f"}

    assert ignored(messages=[called, result]) == []
    assert ignored(messages=[called, result | {"tool_call_id": "x"}]) == ["messages[].name", "messages[].tool_name"]


def test_a_list_of_many_fields_ends() -> None:
    fields = {f"key{number}": number for number in range(100_000)}
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi", **fields}]}

    listed = ignored_fields(parse_body(json.dumps(body).encode(), ChatRequest))

    assert len(listed) == MAX_FIELDS + 1
    assert listed[-1] == MORE
    assert len(with_message(**{f"key{number}": number for number in range(MAX_FIELDS)})) == MAX_FIELDS

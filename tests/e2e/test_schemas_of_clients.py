"""Schemas that clients send as they are: a running server answers, and names what it does not enforce."""

import json
from typing import Any

import httpx
import pytest
from running_server import PATIENCE, RunningServer

EMAIL = r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$"
TO = {"type": "array", "uniqueItems": True, "items": {"type": "string", "format": "email", "pattern": EMAIL}}
SEND = {"type": "OBJECT", "properties": {"to": TO, "n": {"type": "INTEGER", "minimum": "1"}}, "required": ["n"]}
PLACE = "tools[0].function.parameters.properties"
PARTS = [f"{PLACE}.to.uniqueItems", f"{PLACE}.to.items.pattern", f"{PLACE}.n.minimum"]
EMPTY = {"type": "string", "minLength": 3, "maxLength": 2}
UNREADABLE = {"type": "object", "properties": {"a": EMPTY}, "required": ["a"]}


def tool(parameters: Any, name: str = "mcp/mail:send.now", **fields: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters, **fields}}


def ask(server: RunningServer, path: str = "", **fields: Any) -> httpx.Response:
    body = {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 120, "seed": 1, **fields}
    return httpx.post(f"{server.base_url}/chat/completions{path}", json=body, timeout=PATIENCE)


def not_enforced(answer: httpx.Response) -> list[str]:
    return answer.headers["x-localrouter-not-enforced"].split(", ")


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_that_cannot_be_enforced_whole_is_called(server: RunningServer, stream: bool) -> None:
    answer = ask(server, tools=[tool(SEND)], tool_choice="required", stream=stream)

    assert answer.status_code == 200, answer.text
    assert not_enforced(answer) == PARTS
    if not stream:
        [choice] = answer.json()["choices"]
        [call] = choice["message"]["tool_calls"][:1]
        assert call["function"]["name"] == "mcp/mail:send.now"
        if choice["finish_reason"] == "tool_calls":
            assert isinstance(json.loads(call["function"]["arguments"])["n"], int)


def test_explain_has_the_reasons(server: RunningServer) -> None:
    explanation = ask(server, "/explain", tools=[tool(SEND)]).json()

    assert [part["field"] for part in explanation["not_enforced"]] == PARTS
    assert "look at what follows" in explanation["not_enforced"][1]["why"]
    assert "strict" not in str(explanation["ignored"])


def test_tools_that_may_not_be_called_are_not_listed(server: RunningServer) -> None:
    answer = ask(server, tools=[tool(SEND), tool({}, "other")], tool_choice={"type": "function", "name": "other"})

    assert answer.status_code == 200, answer.text
    assert "x-localrouter-not-enforced" not in answer.headers


def test_a_strict_tool_is_rejected(server: RunningServer) -> None:
    error = ask(server, tools=[tool({**SEND, "type": "object"}, strict=True)]).json()["error"]

    assert (error["param"], error["code"]) == (PARTS[0], "unsupported_schema")


def test_a_tool_whose_grammar_does_not_compile_may_have_any_arguments(server: RunningServer) -> None:
    answer = ask(server, tools=[tool(UNREADABLE)], tool_choice="required")

    assert answer.status_code == 200, answer.text
    assert not_enforced(answer) == ["tools[0].function.parameters"]
    strict = ask(server, tools=[tool(UNREADABLE, strict=True)])
    assert strict.json()["error"]["code"] == "invalid_grammar"


@pytest.mark.parametrize("name", [None, "Page[Item]", "x" * 256, ""])
def test_a_response_format_may_have_any_name_or_none(server: RunningServer, name: str | None) -> None:
    properties = {"a": {"type": "boolean", "not": {"const": 1}}}
    schema = {"type": "object", "properties": properties, "required": ["a"], "additionalProperties": False}
    answer = ask(server, response_format={"type": "json_schema", "json_schema": {"name": name, "schema": schema}})

    assert answer.status_code == 200, answer.text
    assert not_enforced(answer) == ["response_format.json_schema.schema.properties.a.not"]
    assert isinstance(json.loads(answer.json()["choices"][0]["message"]["content"])["a"], bool)


def test_a_call_in_the_history_may_have_the_same_names(server: RunningServer) -> None:
    name = "mcp/" + "x" * 200
    call = {"id": "1", "type": "function", "function": {"name": name, "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "done", "tool_call_id": "1", "name": name},
    ]
    answer = ask(server, messages=messages, tools=[tool(None, name)])

    assert answer.status_code == 200, answer.text

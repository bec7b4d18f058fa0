"""Calls of functions. No check depends on whether the model wants to call one."""

import json
from typing import Any

from localrouter.conformance.check import Broken, Group, NotTestable, equal, expect
from localrouter.conformance.server import HELLO, MAX_TOKENS, Server

TOOLS = Group("tools")
_FIELDS = ("tools", "tool_choice", "tool_calls", "tool_call_id", "function", "role", "tool")


def _tool(name: str) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": {"c": {"type": "string", "enum": ["x", "y"]}},
        "required": ["c"],
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "strict": True, "parameters": parameters}}


_PICK = {"tools": [_tool("pick"), _tool("drop")], "max_tokens": MAX_TOKENS}
_NAMED = {**_PICK, "tool_choice": {"type": "function", "function": {"name": "pick"}}}


def _call(server: Server, **fields: Any) -> dict[str, Any]:
    """Return the first call of an answer that has to have one."""
    choice = server.ask(**fields)["choices"][0]
    calls = choice["message"].get("tool_calls")
    if calls:
        return dict(calls[0])
    if choice["finish_reason"] == "length" and not choice["message"].get("content"):
        raise NotTestable("the answer was cut before a call")
    raise Broken(f"no call was made, but {choice['message'].get('content')!r} said")


def _require_arguments(arguments: str, *, cut: bool) -> None:
    """Raise Broken unless these are arguments of our functions."""
    try:
        value = json.loads(arguments)
    except ValueError:
        if cut:
            raise NotTestable("the call was cut by max_tokens") from None
        raise Broken(f"the arguments {arguments!r} are no JSON") from None
    expect(value in ({"c": "x"}, {"c": "y"}), f"the arguments {arguments!r} do not follow the schema")


@TOOLS.check(*_FIELDS)
def a_named_function_is_called(server: Server) -> None:
    """Naming a function in `tool_choice` forces the model to call that function."""
    call = _call(server, **_NAMED)
    equal(call["type"], "function", "the type of the call")
    equal(call["function"]["name"], "pick", "the name of the function")


@TOOLS.check(*_FIELDS)
def arguments_follow_their_schema(server: Server) -> None:
    """With `strict` the model follows the exact schema that is defined in `parameters`."""
    choice = server.ask(**_NAMED)["choices"][0]
    call = (choice["message"].get("tool_calls") or [None])[0]
    expect(call, "no call was made")
    _require_arguments(call["function"]["arguments"], cut=choice["finish_reason"] == "length")


@TOOLS.check(*_FIELDS)
def every_call_has_an_id_of_its_own(server: Server) -> None:
    """`id` is the ID of the tool call, by which its result refers to it."""
    first, second = (_call(server, **_NAMED)["id"] for _ in range(2))
    expect(first and isinstance(first, str), f"the id is {first!r}")
    expect(first != second, f"two calls have the id {first!r}")


@TOOLS.check(*_FIELDS)
def an_answer_with_a_required_call_ends_with_tool_calls(server: Server) -> None:
    """`finish_reason` is `tool_calls` if the model called a tool."""
    choice = server.ask(**{**_PICK, "tool_choice": "required"})["choices"][0]
    if choice["finish_reason"] == "length" and not choice["message"].get("content"):
        raise NotTestable("the call was cut by max_tokens")
    equal(choice["finish_reason"], "tool_calls", "finish_reason")


@TOOLS.check(*_FIELDS)
def required_makes_a_call(server: Server) -> None:
    """`required` means the model must call one or more tools."""
    call = _call(server, **{**_PICK, "tool_choice": "required"})
    expect(call["function"]["name"] in ("pick", "drop"), f"there is no function {call['function']['name']!r}")


@TOOLS.check(*_FIELDS)
def none_makes_no_call(server: Server) -> None:
    """`none` means the model will not call any tool and instead generates a message."""
    message = server.ask(**{**_PICK, "tool_choice": "none"})["choices"][0]["message"]
    expect(not message.get("tool_calls"), "a call was made")


@TOOLS.check(*_FIELDS)
def auto_is_answered(server: Server) -> None:
    """`auto` means the model can pick between generating a message or calling one or more tools."""
    choice = server.ask(**{**_PICK, "tool_choice": "auto"})["choices"][0]
    for call in choice["message"].get("tool_calls") or []:
        expect(call["function"]["name"] in ("pick", "drop"), f"there is no function {call['function']['name']!r}")


@TOOLS.check(*_FIELDS, "parallel_tool_calls")
def one_call_at_most_without_parallel_calls(server: Server) -> None:
    """With `parallel_tool_calls` false exactly zero or one tool is called."""
    fields = {**_PICK, "tool_choice": "required", "parallel_tool_calls": False}
    calls = server.ask(**fields)["choices"][0]["message"].get("tool_calls") or []
    expect(len(calls) <= 1, f"{len(calls)} calls were made")


@TOOLS.check(*_FIELDS)
def streamed_calls_fold_to_the_plain_shape(server: Server) -> None:
    """Deltas of a call have its index; id and name come first, and the arguments concatenate to JSON."""
    stream = server.stream(**_NAMED)
    calls = stream.tool_calls()
    expect(len(calls) >= 1, "no call was streamed")
    expect(calls[0]["id"], "the call has no id")
    equal(calls[0]["name"], "pick", "the name of the function")
    _require_arguments(calls[0]["arguments"], cut=stream.finish_reasons() == ["length"])


@TOOLS.check(*_FIELDS)
def a_result_of_a_call_is_taken(server: Server) -> None:
    """A message of role `tool` answers the call whose id is its `tool_call_id`."""
    call = {"id": "call_1", "type": "function", "function": {"name": "pick", "arguments": '{"c": "x"}'}}
    messages = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "done"},
    ]
    plain = server.ask(messages=messages[:1], tools=_PICK["tools"], tool_choice="none", max_tokens=1)
    answer = server.ask(messages=messages, tools=_PICK["tools"], tool_choice="none", max_tokens=1)
    expect(
        answer["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"],
        "the call and its result added nothing to the prompt",
    )


@TOOLS.check(*_FIELDS)
def a_result_without_a_call_is_refused(server: Server) -> None:
    """A message of role `tool` must be a response to a preceding message with `tool_calls`."""
    server.ask(**_NAMED)
    messages = [*HELLO, {"role": "tool", "tool_call_id": "call_1", "content": "done"}]
    status = server.status(messages=messages, tools=_PICK["tools"])
    expect(400 <= status < 500, f"it was answered with status {status}, not refused")


@TOOLS.check(*_FIELDS)
def an_unknown_named_function_is_refused(server: Server) -> None:
    """`tool_choice` can only name a function of `tools`."""
    server.ask(**_NAMED)
    status = server.status(**{**_PICK, "tool_choice": {"type": "function", "function": {"name": "nobody"}}})
    expect(400 <= status < 500, f"it was answered with status {status}, not refused")

"""Checks of tool calls. No check depends on whether the model decides to call a tool."""

from typing import Any

from localrouter.conformance.check import Broken, CheckGroup, Undecided, equal, expect, thrice
from localrouter.conformance.checks.written_json import one_of
from localrouter.conformance.server_under_test import ReceivedStream, ServerUnderTest

TOOLS = CheckGroup("tools")
FIELDS = ("tools", "tool_choice", "tool_calls", "tool_call_id", "function", "role", "tool")
_LONG = 96
"""Tokens for a call of some thirty characters, and for white space of a model with random weights."""
_TRIES = 3
_ARGUMENTS = ({"location": "Paris"}, {"location": "Rome"})
"""All valid arguments of the tools in these checks."""


def function(name: str, **more: Any) -> dict[str, Any]:
    """Return a tool of this name whose only argument `location` is `Paris` or `Rome`."""
    parameters = {
        "type": "object",
        "properties": {"location": {"type": "string", "enum": ["Paris", "Rome"]}},
        "required": ["location"],
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "strict": True, "parameters": parameters, **more}}


def named(name: str) -> dict[str, Any]:
    """Return the `tool_choice` that forces a call of this function."""
    return {"type": "function", "function": {"name": name}}


_QUESTION = [{"role": "user", "content": "What is the weather in Paris?"}]
"""A question that makes a model with tool support likely to call a tool soon."""
TWO: dict[str, Any] = {
    "messages": _QUESTION,
    "tools": [function("get_weather"), function("get_time")],
    "max_tokens": _LONG,
}
NAMED: dict[str, Any] = {**TWO, "tool_choice": named("get_weather")}
REQUIRED: dict[str, Any] = {**TWO, "tool_choice": "required"}
ONLY: dict[str, Any] = {**REQUIRED, "tools": [function("get_weather")]}
"""Fields that force a call of one tool, also on servers where `tool_choice` cannot name one."""


def _choice(server: ServerUnderTest, **fields: Any) -> dict[str, Any]:
    """Return a choice that was not truncated, or after a few tries one that was."""
    choice: dict[str, Any] = {}
    for _ in range(_TRIES):
        choice = server.ask(**fields)["choices"][0]
        if choice["finish_reason"] != "length":
            break
    return choice


def _calls(choice: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tool calls of a choice that must have one. Raises Undecided if it was truncated before a call."""
    message = choice["message"]
    calls = message.get("tool_calls") or []
    if calls:
        return list(calls)
    if choice["finish_reason"] == "length":
        raise Undecided("the answer was cut before a call")
    raise Broken(f"no call was made, but {message.get('content')!r} said")


def _streamed(server: ServerUnderTest, **fields: Any) -> ReceivedStream:
    """Return a stream that must have a tool call. Raises Undecided if it was truncated before a call."""
    stream = server.stream(**fields)
    if not stream.tool_calls() and stream.finish_reasons() == ["length"]:
        raise Undecided("the answer was cut before a call")
    expect(stream.tool_calls(), "no call was streamed")
    return stream


def _call(server: ServerUnderTest, **fields: Any) -> tuple[dict[str, Any], bool]:
    """Return the first tool call of a response that must have one, and whether it may be truncated."""
    choice = _choice(server, **fields)
    calls = _calls(choice)
    return calls[0], choice["finish_reason"] == "length" and len(calls) == 1


@TOOLS.check(*FIELDS)
def a_named_function_is_called(server: ServerUnderTest) -> None:
    """Naming a function in `tool_choice` forces the model to call that function."""
    call, _ = _call(server, **NAMED)
    equal(call["type"], "function", "the type of the call")
    equal(call["function"]["name"], "get_weather", "the name of the function")


@TOOLS.check(*FIELDS)
def arguments_follow_their_schema(server: ServerUnderTest) -> None:
    """With `strict` the model follows the exact schema that is defined in `parameters`."""
    call, is_cut = _call(server, **ONLY)
    one_of(call["function"]["arguments"], _ARGUMENTS, is_cut=is_cut)


@TOOLS.check(*FIELDS)
def nested_arguments_follow_their_schema(server: ServerUnderTest) -> None:
    """`parameters` is a JSON Schema object, with objects and arrays inside as anywhere."""
    inner = {"type": "object", "properties": {"b": {"type": "boolean"}}, "required": ["b"]}
    items = {"type": "array", "items": {**inner, "additionalProperties": False}, "minItems": 1, "maxItems": 1}
    outer = {"type": "object", "properties": {"a": items}, "required": ["a"], "additionalProperties": False}
    call, is_cut = _call(server, **{**ONLY, "tools": [function("get_weather", parameters=outer)]})
    one_of(call["function"]["arguments"], ({"a": [{"b": ok}]} for ok in (True, False)), is_cut=is_cut)


@TOOLS.check(*FIELDS)
def a_function_without_parameters_has_no_arguments(server: ServerUnderTest) -> None:
    """Omitting `parameters` defines a function with an empty parameter list."""
    call, is_cut = _call(server, **{**ONLY, "tools": [{"type": "function", "function": {"name": "get_weather"}}]})
    equal(call["function"]["name"], "get_weather", "the name of the function")
    one_of(call["function"]["arguments"], [{}], is_cut=is_cut)


@TOOLS.check(*FIELDS)
def every_call_has_an_id_of_its_own(server: ServerUnderTest) -> None:
    """`id` is the ID of the tool call, by which its result refers to it."""
    ids = [call["id"] for _ in range(2) for call in _calls(server.ask(**ONLY)["choices"][0])]
    expect(all(each and isinstance(each, str) for each in ids), f"the ids are {ids}")
    expect(len(set(ids)) == len(ids), f"calls share an id: {ids}")


@TOOLS.check(*FIELDS)
def required_makes_a_call(server: ServerUnderTest) -> None:
    """`required` means the model must call one or more tools."""
    call, is_cut = _call(server, **REQUIRED)
    expect(
        call["function"]["name"] in ("get_weather", "get_time"), f"there is no function {call['function']['name']!r}"
    )
    one_of(call["function"]["arguments"], _ARGUMENTS, is_cut=is_cut)


@TOOLS.check(*FIELDS)
def an_answer_with_a_required_call_ends_with_tool_calls(server: ServerUnderTest) -> None:
    """`finish_reason` is `tool_calls` if the model called a tool."""
    choice = _choice(server, **REQUIRED)
    _calls(choice)
    if choice["finish_reason"] == "length":
        raise Undecided("the answer was cut by max_tokens")
    equal(choice["finish_reason"], "tool_calls", "finish_reason")


@TOOLS.check(*FIELDS)
def none_makes_no_call(server: ServerUnderTest) -> None:
    """`none` means the model will not call any tool and instead generates a message."""
    message = server.ask(tools=TWO["tools"], tool_choice="none")["choices"][0]["message"]
    expect(not message.get("tool_calls"), "a call was made")


@TOOLS.check(*FIELDS)
def auto_is_answered(server: ServerUnderTest) -> None:
    """`auto` means the model can pick between generating a message or calling one or more tools."""
    choice = server.ask(tools=TWO["tools"], tool_choice="auto")["choices"][0]
    for call in choice["message"].get("tool_calls") or []:
        expect(
            call["function"]["name"] in ("get_weather", "get_time"),
            f"there is no function {call['function']['name']!r}",
        )


def _allowed(mode: str, name: str) -> dict[str, Any]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [named(name)]}}


@TOOLS.check(*FIELDS, "allowed_tools")
def only_allowed_tools_are_called(server: ServerUnderTest) -> None:
    """`allowed_tools` of mode `required` requires the model to call one or more of the allowed tools."""
    for name in ("get_time", "get_weather"):
        choice = _choice(server, **{**TWO, "tool_choice": _allowed("required", name)})
        equal({call["function"]["name"] for call in _calls(choice)}, {name}, "the set of functions called")


@TOOLS.check(*FIELDS, "allowed_tools")
def allowed_tools_may_be_left_uncalled(server: ServerUnderTest) -> None:
    """`allowed_tools` of mode `auto` allows the model to pick among the allowed tools and generate a message."""
    message = server.ask(tools=TWO["tools"], tool_choice=_allowed("auto", "get_time"))["choices"][0]["message"]
    called = {call["function"]["name"] for call in message.get("tool_calls") or []}
    expect(called <= {"get_time"}, f"{sorted(called)} were called")


@TOOLS.check(*FIELDS, "parallel_tool_calls")
def one_call_at_most_without_parallel_calls(server: ServerUnderTest) -> None:
    """With `parallel_tool_calls` false exactly zero or one tool is called."""
    for _ in range(_TRIES):
        calls = _calls(server.ask(**REQUIRED, parallel_tool_calls=False)["choices"][0])
        expect(len(calls) <= 1, f"{len(calls)} calls were made")


@TOOLS.check(*FIELDS, "stream")
def a_streamed_call_begins_with_its_id_and_name(server: ServerUnderTest) -> None:
    """Deltas of a call have its `index`; the first has id, type and name, and no later one another of them."""
    choices = _streamed(server, **ONLY).choices()
    deltas = [delta for choice in choices for delta in choice["delta"].get("tool_calls") or []]
    expect(deltas[0]["id"], "the first delta has no id")
    equal(deltas[0]["index"], 0, "index")
    equal(deltas[0]["type"], "function", "type")
    equal(deltas[0]["function"]["name"], "get_weather", "the name of the function")
    of_the_first = [delta for delta in deltas if delta["index"] == 0]
    expect(len({delta.get("id") or deltas[0]["id"] for delta in of_the_first}) == 1, "the id of a call changed")


@TOOLS.check(*FIELDS, "stream")
def streamed_arguments_follow_their_schema(server: ServerUnderTest) -> None:
    """The arguments of a call concatenate to JSON that obeys its schema."""
    stream = _streamed(server, **ONLY)
    calls = stream.tool_calls()
    equal(calls[0]["name"], "get_weather", "the name of the function")
    one_of(calls[0]["arguments"], _ARGUMENTS, is_cut=stream.finish_reasons() == ["length"] and len(calls) == 1)


@TOOLS.check(*FIELDS, "stream")
@thrice
def streamed_calls_are_those_of_a_plain_answer(server: ServerUnderTest) -> None:
    """Streaming changes how calls are sent, not what they are."""
    same = {**REQUIRED, "temperature": 0, "seed": 7}
    plain, again = (server.ask(**same)["choices"][0] for _ in range(2))
    functions = [call["function"] for call in _calls(plain)]
    if functions != [call["function"] for call in again["message"].get("tool_calls") or []]:
        raise Undecided("two plain answers at temperature 0 differ already")
    stream = server.stream(**same)
    streamed = [{"name": call["name"], "arguments": call["arguments"]} for call in stream.tool_calls()]
    equal(streamed, [{"name": each["name"], "arguments": each["arguments"]} for each in functions], "the list of calls")
    equal(stream.text(), plain["message"].get("content") or "", "the content beside them")
    equal(stream.finish_reasons(), [plain["finish_reason"]], "the list of finish reasons")

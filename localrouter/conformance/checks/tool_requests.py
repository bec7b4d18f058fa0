"""Checks of requests with tools: results in the conversation, names, and requests that must be rejected."""

from typing import Any

from localrouter.conformance.check import CheckGroup, expect, rejected, rejects
from localrouter.conformance.checks.tool_calls import FIELDS, NAMED, ONLY, TWO, function, named
from localrouter.conformance.server_under_test import HELLO, ServerUnderTest

TOOL_REQUESTS = CheckGroup("tool_requests")
_QUIET: dict[str, Any] = {"tools": TWO["tools"], "tool_choice": "none", "max_tokens": 1}


def _call(number: int) -> dict[str, Any]:
    return {
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": "get_weather", "arguments": '{"location": "Paris"}'},
    }


def _calls(*numbers: int) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [_call(number) for number in numbers]}


def _result(number: int, content: Any = "The ships of the north carry timber and salt.") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"call_{number}", "content": content}


def _prompt_tokens(server: ServerUnderTest, *messages: dict[str, Any]) -> int:
    return int(server.ask(messages=[*messages], **_QUIET)["usage"]["prompt_tokens"])


@TOOL_REQUESTS.check(*FIELDS)
def tools_are_read(server: ServerUnderTest) -> None:
    """`tools` is a list of tools the model may call; the prompt has to contain them."""
    few, many = (
        server.ask(tools=[function(f"pick_{number}") for number in range(count)], max_tokens=1)["usage"]
        for count in (1, 8)
    )
    expect(many["prompt_tokens"] > few["prompt_tokens"], "eight tools make the prompt no longer than one")


@TOOL_REQUESTS.check(*FIELDS)
def a_result_of_a_call_is_read(server: ServerUnderTest) -> None:
    """A message of role `tool` answers the call whose id is its `tool_call_id`."""
    before, after = _prompt_tokens(server, *HELLO), _prompt_tokens(server, *HELLO, _calls(1), _result(1))
    expect(after > before, "the call and its result added nothing to the prompt")
    longer = _prompt_tokens(server, *HELLO, _calls(1), _result(1, "The ships of the north carry timber and salt. " * 4))
    expect(longer > after, "a longer result made the prompt no longer")


@TOOL_REQUESTS.check(*FIELDS)
def results_of_several_calls_are_read(server: ServerUnderTest) -> None:
    """An assistant's message may have several calls; each has a result, and then the conversation goes on."""
    one = _prompt_tokens(server, *HELLO, _calls(1), _result(1), *HELLO)
    two = _prompt_tokens(server, *HELLO, _calls(1, 2), _result(1), _result(2), *HELLO)
    expect(two > one, "the second call and its result added nothing to the prompt")


@TOOL_REQUESTS.check(*FIELDS, "content", "type")
def a_result_may_have_parts(server: ServerUnderTest) -> None:
    """The content of a `tool` message may be an array of text parts."""
    parts = [{"type": "text", "text": "The ships of the north "}, {"type": "text", "text": "carry timber and salt."}]
    short, long = (_prompt_tokens(server, *HELLO, _calls(1), _result(1, each)) for each in (parts[:1], parts))
    expect(long > short, "the second part added nothing to the prompt")


@TOOL_REQUESTS.check(*FIELDS)
def a_result_without_a_call_is_rejected(server: ServerUnderTest) -> None:
    """A message of role `tool` must be a response to a preceding message with `tool_calls`."""
    _prompt_tokens(server, *HELLO, _calls(1), _result(1))
    rejected(server, messages=[*HELLO, _result(1)], **_QUIET)


@TOOL_REQUESTS.check(*FIELDS)
def a_result_of_another_call_is_rejected(server: ServerUnderTest) -> None:
    """`tool_call_id` is the tool call that this message is responding to."""
    _prompt_tokens(server, *HELLO, _calls(1), _result(1))
    rejected(server, messages=[*HELLO, _calls(1), _result(2)], **_QUIET)


@TOOL_REQUESTS.check(*FIELDS)
def an_unknown_named_function_is_rejected(server: ServerUnderTest) -> None:
    """`tool_choice` can only name a function of `tools`."""
    rejects(server, NAMED, {**TWO, "tool_choice": named("no_such_function")})


@TOOL_REQUESTS.check(*FIELDS)
def an_unknown_tool_choice_is_rejected(server: ServerUnderTest) -> None:
    """`tool_choice` is `none`, `auto`, `required`, a tool or a list of allowed ones."""
    rejects(server, {**TWO, "tool_choice": "auto"}, {**TWO, "tool_choice": "no_such_choice"})


@TOOL_REQUESTS.check(*FIELDS)
def a_required_call_without_tools_is_rejected(server: ServerUnderTest) -> None:
    """`required` means the model must call one or more tools; without any it cannot."""
    rejects(server, {**TWO, "tool_choice": "required"}, {"tool_choice": "required"})


@TOOL_REQUESTS.check(*FIELDS, "name")
def two_functions_of_one_name_are_rejected(server: ServerUnderTest) -> None:
    """A call and `tool_choice` refer to a function by its name, so names tell functions apart."""
    rejects(server, TWO, {"tools": [function("get_weather"), function("get_weather")]})


@TOOL_REQUESTS.check(*FIELDS, "name")
def an_illegal_name_is_rejected(server: ServerUnderTest) -> None:
    """The name must be a-z, A-Z, 0-9, or contain underscores and dashes."""
    rejects(server, {"tools": [function("pick-a_1")]}, {"tools": [function("pick one!")]})


@TOOL_REQUESTS.check(*FIELDS, "name")
def a_name_of_65_characters_is_rejected(server: ServerUnderTest) -> None:
    """The name of a function has a maximum length of 64."""
    rejects(server, {"tools": [function("p" * 64)]}, {"tools": [function("p" * 65)]})


@TOOL_REQUESTS.check(*FIELDS)
def an_unknown_kind_of_tool_is_rejected(server: ServerUnderTest) -> None:
    """`type` of a tool is `function` or `custom`."""
    rejects(server, TWO, {"tools": [{**function("get_weather"), "type": "no_such_kind"}]})


@TOOL_REQUESTS.check(*FIELDS, "parameters")
def invalid_parameters_are_rejected(server: ServerUnderTest) -> None:
    """`parameters` are described as a JSON Schema object."""
    rejects(server, ONLY, {**ONLY, "tools": [function("get_weather", parameters={"type": "no such type"})]})

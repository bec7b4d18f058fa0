"""What the reference does not allow in a request, as a server that keeps all promises rejects it."""

import re
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
MODEL = "exemplary"
TOKENS = 3000
"""Ids of tokens that there are."""
ACCEPTED = {"user", "safety_identifier", "prompt_cache_key", "metadata", "store", "verbosity", "prediction"}
"""Fields that change nothing."""
KNOWN = ACCEPTED | {
    *("model", "messages", "stream", "stream_options", "temperature", "top_p", "max_tokens", "max_completion_tokens"),
    *("seed", "stop", "n", "logprobs", "top_logprobs", "logit_bias", "presence_penalty", "frequency_penalty"),
    *("response_format", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"),
    *("reasoning_effort", "service_tier", "modalities", "audio", "prompt", "echo", "suffix"),
}
RANGES = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "max_tokens": (1, 10**9),
    "max_completion_tokens": (1, 10**9),
    "n": (1, 128),
    "top_logprobs": (0, 20),
}
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")


class Refusal(Exception):
    """A status and an error."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        self.status = status
        self.body = {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def require(kept: object, message: str, param: str) -> None:
    if not kept:
        raise Refusal(400, message, param)


def validate(body: Json) -> None:
    """Refuse what is wrong with a chat."""
    validate_fields(body)
    validate_messages(body.get("messages"))
    validate_form(body)
    validate_tools(body)


def validate_fields(body: Json) -> None:
    """Refuse what is wrong with a chat or a legacy completion."""
    for name in body.keys() - KNOWN:
        raise Refusal(400, f"Unrecognized request argument supplied: {name}", name)
    if body.get("model") != MODEL:
        raise Refusal(404, "The model does not exist", None, "model_not_found")
    for name, (least, most) in RANGES.items():
        value = body.get(name, least)
        require(isinstance(value, int | float) and least <= value <= most, f"{name} is out of range", name)
    stops = body.get("stop") or []
    require(isinstance(stops, str) or len(stops) <= 4, "too many stops", "stop")
    require("top_logprobs" not in body or body.get("logprobs"), "top_logprobs wants logprobs", "top_logprobs")
    for token, bias in (body.get("logit_bias") or {}).items():
        require(abs(bias) <= 100 and int(token) < TOKENS, "a bias or a token is out of range", "logit_bias")
    require(body.get("stream") or "stream_options" not in body, "this is no stream", "stream_options")
    require(body.get("reasoning_effort", "low") in EFFORTS, "no such effort", "reasoning_effort")
    require(body.get("modalities", ["text"]) == ["text"], "this model writes", "modalities")
    require("suffix" not in body, "suffix is not supported", "suffix")


def validate_messages(messages: Any) -> None:
    require(messages and isinstance(messages, list), "messages is an array of at least one message", "messages")
    open_calls: set[str] = set()
    for message in messages:
        require(message["role"] in ("system", "developer", "user", "assistant", "tool"), "no such role", "role")
        if message["role"] == "tool":
            require(message["tool_call_id"] in open_calls, "no call has this id", "messages.tool_call_id")
        open_calls |= {call["id"] for call in message.get("tool_calls") or []}
        content = message["content"]
        parts = content if isinstance(content, list) else []
        require(all(part["type"] == "text" for part in parts), "this model takes text", "messages.content")


def validate_form(body: Json) -> None:
    form = body.get("response_format", {"type": "text"})
    require(form["type"] in ("text", "json_object", "json_schema"), "no such format", "response_format")
    if form["type"] == "json_schema":
        require("name" in form["json_schema"], "a name is missing", "response_format")
        validate_schema(form["json_schema"]["schema"], "response_format")


def validate_schema(schema: Json, param: str) -> None:
    require(schema.get("type", "object") in TYPES, "an invalid schema", param)


def validate_tools(body: Json) -> None:
    tools = body.get("tools") or []
    require(all(tool["type"] == "function" for tool in tools), "no such kind of tool", "tools")
    functions = [tool["function"] for tool in tools]
    names = [function["name"] for function in functions]
    require(len(set(names)) == len(names), "two tools have one name", "tools")
    require(all(re.fullmatch("[a-zA-Z0-9_-]{1,64}", name) for name in names), "an illegal name", "tools")
    for function in functions:
        validate_schema(function.get("parameters", {}), "tools")
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, str):
        require(choice in ("none", "auto", "required"), "no such choice", "tool_choice")
        require(choice != "required" or tools, "there are no tools", "tool_choice")
    else:
        require(set(allowed(choice)) <= set(names), "no such tool", "tool_choice")


def allowed(choice: Json) -> Iterator[str]:
    """The names of the functions that a `tool_choice` allows."""
    if choice["type"] == "allowed_tools":
        yield from (tool["function"]["name"] for tool in choice["allowed_tools"]["tools"])
    else:
        yield choice["function"]["name"]

"""Bodies of chat requests that are wrong, each with the field and the code of its error."""

import json
from typing import Any

from serving_fakes import HELLO

DEEP = 100_000


def with_message(**message: object) -> dict[str, object]:
    return {"model": "echo", "messages": [message]}


def user(content: object) -> dict[str, object]:
    return with_message(role="user", content=content)


def said(name: str, value: str) -> bytes:
    """Return a body with a value that Python's encoder would not write."""
    return json.dumps(HELLO).encode()[:-1] + f', "{name}": {value}}}'.encode()


def deep(levels: int) -> dict[str, object]:
    """Return an object with so many arrays inside each other."""
    value: list[object] = []
    for _ in range(levels - 1):
        value = [value]
    return {"a": value}


CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
THOUGHT = {"type": "thinking", "thinking": "Hm."}
SCHEMA = "response_format.json_schema.schema"


def tool(name: str, parameters: object = None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def strict(function: dict[str, Any]) -> dict[str, object]:
    return {**function, "function": {**function["function"], "strict": True}}


def named(name: str) -> dict[str, object]:
    return {"type": "function", "function": {"name": name}}


def with_schema(schema: object) -> dict[str, object]:
    return {**HELLO, "response_format": {"type": "json_schema", "json_schema": {"schema": schema, "strict": True}}}


MISSING = "missing_required_parameter"
STRICT = "tools[0].function.strict"
WRONG: list[tuple[Any, str | None, str]] = [
    # not JSON
    (b"", None, "invalid_json"),
    (b"[" * DEEP, None, "invalid_json"),
    (b'{"a":' * DEEP, None, "invalid_json"),
    (b"\xff", None, "invalid_json"),
    (b'{"model": "\xc3\x28"}', None, "invalid_json"),
    (b'{"model": "a", "messages": [{"role": "user", "content": "\\ud800"}]}', None, "invalid_json"),
    (b"{} {}", None, "invalid_json"),
    (b'{"seed": ' + b"9" * 5000 + b"}", None, "invalid_json"),
    (said("chat_template_kwargs", '{"a": [NaN]}'), None, "invalid_json"),
    (said("chat_template_kwargs", '{"a": -Infinity}'), None, "invalid_json"),
    (said("chat_template_kwargs", '{"a": -1e999}'), None, "invalid_value"),
    (said("chat_template_kwargs", '{"a": ' + "[" * 199 + "]" * 199 + "}"), None, "invalid_json"),
    (said("chat_template_kwargs", '{"a": ' + "[" * 5000 + "]" * 5000 + "}"), None, "invalid_json"),
    (said("chat_template_kwargs", '{"\\uDC00": 1}'), None, "invalid_json"),
    (json.dumps(HELLO).encode("utf-16"), None, "invalid_json"),
    (b"\xef\xbb\xbf", None, "invalid_json"),
    (b"\xef\xbb\xbf\xef\xbb\xbf" + json.dumps(HELLO).encode(), None, "invalid_json"),
    (b"\xef\xbb" + json.dumps(HELLO).encode(), None, "invalid_json"),
    (said("chat_template_kwargs", '{"a": [{"b": 1, "c": 2, "c": 3}]}'), "c", "duplicate_parameter"),
    (said("temperature", '9, "temperature": 1, "seed": "x"'), "seed", "invalid_type"),
    (b'{"model": "a", "model": "b", "messages": [{"role": "user", "content": ""}]}', "model", "duplicate_parameter"),
    # not the right shape
    ([], None, "invalid_type"),
    (None, None, "invalid_type"),
    ({}, "messages", "missing_required_parameter"),
    ({"model": "echo"}, "messages", "missing_required_parameter"),
    ({**HELLO, "model": "x" * 513}, "model", "invalid_value"),
    ({**HELLO, "model": 3}, "model", "invalid_type"),
    ({**HELLO, "foo": 1}, "foo", "unknown_parameter"),
    ({**HELLO, "f" * 1000: 1}, "f" * 77 + "...", "unknown_parameter"),
    # messages
    ({**HELLO, "messages": []}, "messages", "invalid_value"),
    ({**HELLO, "messages": {}}, "messages", "invalid_type"),
    ({**HELLO, "messages": ["Hello"]}, "messages[0]", "invalid_type"),
    ({**HELLO, "messages": [1] * 1000}, "messages[0]", "invalid_type"),
    (with_message(content="x"), "messages[0].role", "missing_required_parameter"),
    (with_message(role="user", contnet="x"), "messages[0].content", "missing_required_parameter"),
    (with_message(role="robot", content="x"), "messages[0].role", "invalid_value"),
    (with_message(role="tool", content="x"), "messages[0].tool_call_id", "invalid_value"),
    (with_message(role="tool", content="x", tool_call_id="1"), "messages[0].tool_call_id", "invalid_value"),
    (with_message(role="function", content="x"), "messages[0].name", "missing_required_parameter"),
    (with_message(role="user", content="x", name="A" * 257), "messages[0].name", "invalid_value"),
    (with_message(role="user", content="x", tool_calls=[CALL]), "messages[0].tool_calls", "invalid_value"),
    (with_message(role="assistant", content="x", tool_call_id="1"), "messages[0].tool_call_id", "invalid_value"),
    (with_message(role="assistant", content="x", audio={"id": "a"}), "messages[0].audio", "unsupported_parameter"),
    (with_message(role="assistant", text="x"), "messages[0].content", "missing_required_parameter"),
    (
        with_message(role="assistant", tool_calls=[{"name": "f", "args": {}}]),
        "messages[0].tool_calls[0].function",
        "missing_required_parameter",
    ),
    (
        with_message(role="assistant", tool_calls=[{"function": {"arguments": "{}"}}]),
        "messages[0].tool_calls[0].function.name",
        "missing_required_parameter",
    ),
    (with_message(role="assistant", tool_calls=[CALL, CALL]), "messages[0].tool_calls[1].id", "invalid_value"),
    (with_message(role="assistant", reasoning="a", thinking="b"), "messages[0].thinking", "invalid_value"),
    (with_message(role="assistant", reasoning_content="a", content=[THOUGHT]), "messages[0].content", "invalid_value"),
    (with_message(role="assistant", prefix=True, partial=False), "messages[0].partial", "invalid_value"),
    (with_message(role="assistant", thinking=1), "messages[0].thinking", "invalid_type"),
    (with_message(role="user", content="x", thinking="b"), "messages[0].thinking", "invalid_value"),
    (user([THOUGHT]), "messages[0].content", "invalid_value"),
    (with_message(role="user", content="x", prefix=True), "messages[0].prefix", "invalid_value"),
    (
        {**HELLO, "messages": [{"role": "assistant", "content": "x", "prefix": True}, *HELLO["messages"]]},
        "messages[0].prefix",
        "invalid_value",
    ),
    (with_message(role="assistant", tool_calls=[CALL], prefix=True), "messages[0].prefix", "invalid_value"),
    (
        {**with_message(role="assistant", content="x", prefix=True), "continue_final_message": False},
        "messages[0].prefix",
        "invalid_value",
    ),
    (with_message(role="user", content="x", images=["aGk="]), "messages[0].images", "unsupported_parameter"),
    (with_message(role="user", content="x", weight=0), "messages[0].weight", "unsupported_parameter"),
    (
        with_message(role="assistant", tool_calls=[{**CALL, "type": "custom"}]),
        "messages[0].tool_calls[0].type",
        "unsupported_parameter",
    ),
    (user(3), "messages[0].content", "invalid_type"),
    (user({}), "messages[0].content", "invalid_type"),
    (user(["x"]), "messages[0].content[0]", "invalid_type"),
    (user([{"type": "text"}]), "messages[0].content[0].text", "missing_required_parameter"),
    (user([{"type": "text", "text": 1}]), "messages[0].content[0].text", "invalid_type"),
    (user([{"type": "image_url", "image_url": {}}]), "messages[0].content[0].type", "unsupported_parameter"),
    (user([{"type": "input_image", "image_url": "x"}]), "messages[0].content[0].type", "unsupported_parameter"),
    (
        user([{"type": "text", "text": "x", "image_url": {"url": "x"}}]),
        "messages[0].content[0].image_url",
        "unsupported_parameter",
    ),
    (user([{"type": "smell"}]), "messages[0].content[0].type", "invalid_value"),
    # numbers
    (b'{"model": "a", "messages": [{"role": "user", "content": ""}], "top_p": NaN}', "top_p", "invalid_value"),
    (b'{"model": "a", "messages": [{"role": "user", "content": ""}], "top_p": 1e999}', "top_p", "invalid_value"),
    ({**HELLO, "temperature": "1"}, "temperature", "invalid_type"),
    ({**HELLO, "temperature": True}, "temperature", "invalid_type"),
    ({**HELLO, "temperature": 2.1}, "temperature", "invalid_value"),
    ({**HELLO, "temperature": -0.1}, "temperature", "invalid_value"),
    ({**HELLO, "temperature": 10**400}, "temperature", "invalid_value"),
    ({**HELLO, "top_p": 1.1}, "top_p", "invalid_value"),
    ({**HELLO, "max_tokens": 0}, "max_tokens", "invalid_value"),
    ({**HELLO, "max_tokens": 1.5}, "max_tokens", "invalid_type"),
    ({**HELLO, "max_tokens": 10**100}, "max_tokens", "invalid_value"),
    ({**HELLO, "max_tokens": 1, "max_completion_tokens": 2}, "max_completion_tokens", "invalid_value"),
    ({**HELLO, "seed": 2**63}, "seed", "invalid_value"),
    # streams
    ({**HELLO, "stream": 1}, "stream", "invalid_type"),
    (
        {**HELLO, "stream_options": {"continuous_usage_stats": 1}},
        "stream_options.continuous_usage_stats",
        "invalid_type",
    ),
    # sampling
    ({**HELLO, "frequency_penalty": False}, "frequency_penalty", "invalid_type"),
    ({**HELLO, "frequency_penalty": 2.1}, "frequency_penalty", "invalid_value"),
    ({**HELLO, "presence_penalty": -2.1}, "presence_penalty", "invalid_value"),
    (said("presence_penalty", "NaN"), "presence_penalty", "invalid_value"),
    ({**HELLO, "top_k": -2}, "top_k", "invalid_value"),
    ({**HELLO, "top_k": 2**31}, "top_k", "invalid_value"),
    ({**HELLO, "top_k": 1.5}, "top_k", "invalid_type"),
    ({**HELLO, "min_p": 1.1}, "min_p", "invalid_value"),
    (said("min_p", "NaN"), "min_p", "invalid_value"),
    ({**HELLO, "repeat_penalty": 0}, "repeat_penalty", "invalid_value"),
    ({**HELLO, "repeat_penalty": 1e-40}, "repeat_penalty", "invalid_value"),
    ({**HELLO, "repeat_penalty": 2.1}, "repeat_penalty", "invalid_value"),
    (said("repeat_penalty", "Infinity"), "repeat_penalty", "invalid_value"),
    ({**HELLO, "logit_bias": []}, "logit_bias", "invalid_type"),
    ({**HELLO, "logit_bias": {"a": 1}}, "logit_bias", "invalid_value"),
    ({**HELLO, "logit_bias": {"01": 1}}, "logit_bias", "invalid_value"),
    ({**HELLO, "logit_bias": {"-1": 1}}, "logit_bias", "invalid_value"),
    ({**HELLO, "logit_bias": {"\u0661": 1}}, "logit_bias", "invalid_value"),
    ({**HELLO, "logit_bias": {"1": 101}}, "logit_bias", "invalid_value"),
    ({**HELLO, "logit_bias": {"1": True}}, "logit_bias", "invalid_value"),
    ({**HELLO, "logit_bias": {"1": "1"}}, "logit_bias", "invalid_value"),
    (said("logit_bias", '{"1": NaN}'), "logit_bias", "invalid_value"),
    ({**HELLO, "logit_bias": {str(token): 1 for token in range(301)}}, "logit_bias", "invalid_value"),
    ({**HELLO, "logit_bias": {"256": 1}}, "logit_bias", "invalid_value"),
    # what is told of them
    ({**HELLO, "logprobs": 1}, "logprobs", "invalid_type"),
    ({**HELLO, "top_logprobs": 1}, "top_logprobs", "invalid_value"),
    ({**HELLO, "logprobs": False, "top_logprobs": 1}, "top_logprobs", "invalid_value"),
    ({**HELLO, "logprobs": True, "top_logprobs": 21}, "top_logprobs", "invalid_value"),
    ({**HELLO, "logprobs": True, "top_logprobs": -1}, "top_logprobs", "invalid_value"),
    # what ends them
    ({**HELLO, "stop": 1}, "stop", "invalid_type"),
    ({**HELLO, "stop": "x" * 1025}, "stop", "invalid_value"),
    ({**HELLO, "stop": ["a", None]}, "stop[1]", "invalid_type"),
    ({**HELLO, "stop": ["a"] * 65}, "stop", "invalid_value"),
    # the end of the output
    ({**HELLO, "min_tokens": -1}, "min_tokens", "invalid_value"),
    ({**HELLO, "min_tokens": "5"}, "min_tokens", "invalid_type"),
    ({**HELLO, "min_tokens": 6, "max_tokens": 5}, "min_tokens", "invalid_value"),
    ({**HELLO, "min_tokens": 6, "max_completion_tokens": 5}, "min_tokens", "invalid_value"),
    ({**HELLO, "ignore_eos": 1}, "ignore_eos", "invalid_type"),
    ({**HELLO, "stop_token_ids": [256]}, "stop_token_ids", "invalid_value"),
    ({**HELLO, "stop_token_ids": [-1]}, "stop_token_ids[0]", "invalid_value"),
    ({**HELLO, "stop_token_ids": ["1"]}, "stop_token_ids[0]", "invalid_type"),
    ({**HELLO, "stop_token_ids": [1] * 65}, "stop_token_ids", "invalid_value"),
    ({**HELLO, "timings_per_token": "yes"}, "timings_per_token", "invalid_type"),
    ({**HELLO, "grammar": "root ::= ("}, "grammar", "invalid_grammar"),
    # how many
    ({**HELLO, "n": 0}, "n", "invalid_value"),
    ({**HELLO, "n": 129}, "n", "invalid_value"),
    ({**HELLO, "n": 9}, "n", "invalid_value"),  # the model has eight sequences
    ({**HELLO, "n": True}, "n", "invalid_type"),
    # what may be called
    ({**HELLO, "tools": {}}, "tools", "invalid_type"),
    ({**HELLO, "tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter"),
    ({**HELLO, "tools": [{"type": "custom", "custom": {}}]}, "tools[0].type", "unsupported_parameter"),
    (
        {**HELLO, "tools": [{"type": "function", "function": {"name": "a", "inputSchema": {"type": "object"}}}]},
        "tools[0].function.inputSchema",
        "unsupported_parameter",
    ),
    *(
        ({**HELLO, "tools": [tool(name)]}, "tools[0].function.name", "invalid_value")
        for name in ("", "a" * 257, "a\nb", "a\x7f", "a\x85", "a<b", "a>b", 'a"b', "a\\b", "a{b", "a}b")
    ),
    ({**HELLO, "functions": [{"name": "a>b"}]}, "functions[0].name", "invalid_value"),
    ({**HELLO, "tools": [tool("a")], "tool_choice": {"type": "function"}}, "tool_choice.function", MISSING),
    (
        {**HELLO, "tools": [tool("a")], "tool_choice": {**named("a"), "name": "b"}},
        "tool_choice",
        "invalid_value",
    ),
    (
        {**HELLO, "tools": [tool("a")], "tool_choice": {"type": "function", "name": "b"}},
        "tool_choice.name",
        "invalid_value",
    ),
    (
        {**HELLO, "tools": [tool("a")], "tool_choice": {"type": "allowed_tools", "tools": [named("a")]}},
        "tool_choice.allowed_tools.mode",
        MISSING,
    ),
    ({**HELLO, "tools": [{**tool("a"), "function": {"name": "a", "strict": 1}}]}, STRICT, "invalid_type"),
    ({**HELLO, "tools": [tool("a"), tool("a")]}, "tools[1].function.name", "invalid_value"),
    ({**HELLO, "tools": [tool(f"a{number}") for number in range(513)]}, "tools", "invalid_value"),
    ({**HELLO, "tools": [tool("a")], "tool_choice": "any"}, "tool_choice", "invalid_value"),
    ({**HELLO, "tools": [tool("a")], "tool_choice": 1}, "tool_choice", "invalid_type"),
    ({**HELLO, "tools": [tool("a")], "tool_choice": named("b")}, "tool_choice.function.name", "invalid_value"),
    ({**HELLO, "tool_choice": "required"}, "tool_choice", "invalid_value"),
    (
        {**HELLO, "tools": [strict(tool("a", {"type": "object", "properties": {"x": {"type": "wrong"}}}))]},
        "tools[0].function.parameters.properties.x.type",
        "invalid_schema",
    ),
    ({**HELLO, "functions": [{"name": "a"}], "function_call": {"name": "b"}}, "function_call.name", "invalid_value"),
    # the form of the answer
    ({**HELLO, "response_format": "json"}, "response_format", "invalid_type"),
    ({**HELLO, "response_format": {"type": "yaml"}}, "response_format.type", "invalid_value"),
    (
        {**HELLO, "response_format": {"type": "text", "schema": {}}},
        "response_format.schema",
        "unsupported_parameter",
    ),
    (
        {**HELLO, "response_format": {"type": "json_schema", "json_schema": {"name": "a", "type": "object"}}},
        "response_format.json_schema.schema",
        "missing_required_parameter",
    ),
    (
        {**HELLO, "response_format": {"type": "json_schema"}},
        "response_format.json_schema",
        "missing_required_parameter",
    ),
    (with_schema({"type": "object", "properties": 1}), f"{SCHEMA}.properties", "invalid_schema"),
    (with_schema({"properties": {"a": {"$ref": "#/$defs/b"}}}), f"{SCHEMA}.properties.a.$ref", "invalid_schema"),
    (with_schema({"not": {"type": "string"}}), f"{SCHEMA}.not", "unsupported_schema"),
    (
        {**HELLO, "response_format": {"type": "json_schema", "json_schema": {"name": "a" * 257, "schema": {}}}},
        "response_format.json_schema.name",
        "invalid_value",
    ),
    ({**HELLO, "regex": "(?=a)"}, "regex", "invalid_grammar"),
    ({**HELLO, "regex": "a", "grammar": "start: /a/"}, "grammar", "invalid_value"),
    ({**HELLO, "regex": "a", "response_format": {"type": "json_object"}}, "response_format", "invalid_value"),
    # reasoning, and variables of the template
    ({**HELLO, "reasoning_effort": "some"}, "reasoning_effort", "invalid_value"),
    ({**HELLO, "reasoning_budget": -1}, "reasoning_budget", "invalid_value"),
    ({**HELLO, "chat_template_kwargs": {"messages": []}}, "chat_template_kwargs.messages", "invalid_value"),
    ({**HELLO, "continue_final_message": True}, "continue_final_message", "invalid_value"),
    # what is not done here
    ({**HELLO, "verbosity": "loud"}, "verbosity", "invalid_value"),
    ({**HELLO, "modalities": ["text", "audio"]}, "modalities", "unsupported_parameter"),
    ({**HELLO, "audio": {"voice": "alloy"}}, "audio", "unsupported_parameter"),
    ({**HELLO, "web_search_options": {}}, "web_search_options", "unsupported_parameter"),
    ({**HELLO, "service_tier": "gold"}, "service_tier", "invalid_value"),
    ({**HELLO, "metadata": {"a": 1}}, "metadata", "invalid_value"),
    ({**HELLO, "user": 1}, "user", "invalid_type"),
]

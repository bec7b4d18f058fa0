"""Every way in which a body can be wrong is a 400 that names the field; what asks for nothing is taken."""

import json

import httpx
import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from pydantic import ValidationError
from serving_fakes import CHAT, HELLO
from wrong_bodies import CALL, THOUGHT, WRONG, deep, named, tool

from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.field_kinds import Unsupported


@pytest.mark.parametrize(("body", "param", "code"), WRONG)
async def test_a_wrong_body_is_a_400_that_names_the_field(
    client: httpx.AsyncClient, body: object, param: str | None, code: str
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await client.post(CHAT, content=content)
    error = answer.json()["error"]
    assert answer.status_code == 400, error
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")
    assert "<" not in error["param"] if error["param"] else True
    assert error["message"].endswith(".")


async def test_a_byte_order_mark_in_front_of_the_body_is_skipped(client: httpx.AsyncClient) -> None:
    answer = await client.post(CHAT, content=b"\xef\xbb\xbf" + json.dumps(HELLO).encode())
    assert answer.status_code == 200


@pytest.mark.parametrize("name", ["", "<text>", "{field}"])
async def test_an_unknown_field_is_named_whatever_its_name(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.post(CHAT, json={**HELLO, name: 1})
    assert answer.json()["error"]["message"] == f"Unknown parameter: '{name}'."


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "user", "content": ""}]},
        {"messages": [{"role": "user", "content": "Say"}, {"role": "assistant", "content": "I sa"}]},
        {
            "messages": [
                {"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
            ]
        },
        {"messages": [{"role": "assistant", "content": "x", "refusal": None, "tool_calls": None, "audio": None}]},
        {"max_tokens": 5, "max_completion_tokens": 5},
        {"user": "u", "store": True, "metadata": {"a": "b"}, "prompt_cache_key": "k", "safety_identifier": "s"},
        {"presence_penalty": 0.0, "response_format": {"type": "text"}, "stop": [], "logit_bias": {}},
        {"logit_bias": {"0": -100, "255": 0.5}, "presence_penalty": 2, "frequency_penalty": -2},
        {"logit_bias": None, "logprobs": None, "top_logprobs": None, "stop": None, "top_k": None, "min_p": None},
        {"logprobs": False, "top_logprobs": 0, "top_k": 0, "min_p": 0, "repeat_penalty": 1},
        {"logprobs": True, "top_logprobs": 20, "top_k": 5, "min_p": 1, "repeat_penalty": 2},
        {"stop": "\n"},
        {"messages": [{"role": "user", "content": "x", "name": "Ann"}]},
        {
            "messages": [
                {"role": "system", "content": "a"},
                {"role": "user", "content": "b"},
                {"role": "system", "content": "c"},
            ]
        },
        {
            "messages": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "1", "content": "x"},
            ]
        },
        {
            "messages": [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
            ]
        },
        {"messages": [{"role": "user"}, {"role": "assistant", "content": None}, {"role": "system", "content": []}]},
        {"messages": [{"role": "assistant", "tool_calls": [CALL]}, {"role": "user", "content": "stop"}]},
        {"messages": [{"role": "assistant", "tool_calls": [CALL]}]},
        {
            "messages": [
                {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
                {"role": "tool", "content": {"a": 1}},
            ]
        },
        {"messages": [{"role": "assistant", "content": [THOUGHT], "thinking": "Hm.", "reasoning": "Hm."}]},
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "b", "prefix": True}]},
        {
            "continue_final_message": True,
            "messages": [{"role": "assistant", "content": "b", "partial": True, "prefix": True}],
        },
        {"n": 4},
        {"tools": [tool("a", {"type": "object"})], "tool_choice": "auto", "parallel_tool_calls": False},
        {
            "tools": [tool("a")],
            "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [named("a")]}},
        },
        {"functions": [{"name": "a"}], "function_call": "none"},
        {"response_format": {"type": "json_object"}},
        {"reasoning_effort": "none"},
        {"reasoning_effort": "max", "reasoning_budget": 0},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {
            "continue_final_message": True,
            "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        },
        {"prediction": {"type": "content", "content": "x"}, "service_tier": "flex", "ttl": 600},
        {"stream": True, "stream_options": {"include_obfuscation": True}},
        {"stop": ["a", "b", "c", "d"] * 16},
        {"stop": ""},
        {"stop": ["", "a"]},
        {"stream_options": {}},
        {"stream": False, "stream_options": {"include_usage": True}},
        {"min_tokens": 0, "ignore_eos": False, "stop_token_ids": [], "timings_per_token": False},
        {"min_tokens": 5, "max_tokens": 5, "ignore_eos": True, "stop_token_ids": [0, 255]},
        {"verbosity": "low"},
        {"grammar": 'root ::= "a" | [b-c]+'},
        {"stream": True, "stream_options": None},
        {"stream": True, "stream_options": {"include_usage": None}},
        {"messages": [{"role": "user", "content": "\U0001f600"}]},
        {"prediction": deep(198)},
    ],
)
async def test_what_can_be_honoured_is_taken(client: httpx.AsyncClient, fields: dict[str, object]) -> None:
    answer = await client.post(CHAT, json={**HELLO, **fields})
    assert answer.status_code == 200, answer.text


async def test_an_annotation_is_named_in_the_response(client: httpx.AsyncClient) -> None:
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Hi", "cache_control": {}}], "opts": 1},
        {"role": "assistant", "tool_calls": [{**CALL, "extra_content": {}}]},
    ]
    tools = [{**tool("f"), "cache_control": {}}]

    answer = await client.post(CHAT, json={"model": "echo", "messages": messages, "tools": tools})

    assert answer.status_code == 200
    assert answer.headers["x-localrouter-ignored"] == (
        "messages[].content[].cache_control, messages[].opts, messages[].tool_calls[].extra_content, "
        "tools[].cache_control"
    )


async def test_explain_lists_what_was_done_to_an_interrupted_history(client: httpx.AsyncClient) -> None:
    messages = [
        {"role": "user", "content": "Hi", "id": 1},
        {"role": "assistant", "tool_calls": [{**CALL, "id": name} for name in "ab"]},
        {"role": "tool", "tool_call_id": "b", "content": {"x": 1}},
        {"role": "user", "content": "Go on"},
    ]

    explained = (await client.post(f"{CHAT}/explain", json={"model": "echo", "messages": messages})).json()

    what = [(step["what"], step["message"]) for step in explained["steps"]]
    assert what[:2] == [("added_result", 1), ("result_as_json", 2)]
    assert [each["field"] for each in explained["ignored"]] == ["messages[].id"]
    assert explained["prompt"].index("No result was recorded") < explained["prompt"].index('{"x":1}')


async def test_prefix_continues_the_last_message(client: httpx.AsyncClient) -> None:
    messages = [{"role": "user", "content": "Say"}, {"role": "assistant", "content": "I sa", "prefix": True}]

    explained = (await client.post(f"{CHAT}/explain", json={"model": "echo", "messages": messages})).json()

    assert explained["prompt"].endswith("I sa")


def neutral_values() -> list[tuple[str, object]]:
    return [
        (name, value)
        for name, field in ChatRequest.model_fields.items()
        for kind in field.metadata
        if isinstance(kind, Unsupported)
        for value in (None, *kind.neutral)
    ]


@pytest.mark.parametrize(("name", "value"), neutral_values())
async def test_a_field_that_is_not_supported_is_taken_while_it_asks_for_nothing(
    client: httpx.AsyncClient, name: str, value: object
) -> None:
    answer = await client.post(CHAT, json={**HELLO, name: value})
    assert answer.status_code == 200, answer.text


OWN = {
    "add_generation_prompt",
    "chat_template_kwargs",
    "continue_final_message",
    "enable_thinking",
    "grammar",
    "include_reasoning",
    "min_p",
    "reasoning_budget",
    "regex",
    "repeat_penalty",
    "top_k",
    "ttl",
}
OWN |= {"min_tokens", "ignore_eos", "stop_token_ids", "timings_per_token", "prompt_logprobs"}


def test_the_fields_are_those_of_openais_sdk_and_our_own() -> None:
    theirs = {*CompletionCreateParamsBase.__annotations__, "stream"}
    assert set(ChatRequest.model_fields) == theirs | OWN


@pytest.mark.parametrize(
    "body",
    [
        {"model": "echo", "messages": [1] * 1000},
        {"model": "echo", "messages": [{"role": "user", "content": [1] * 1000}]},
        {**HELLO, **{f"field{number}": 1 for number in range(1000)}},
        {**HELLO, "metadata": {f"field{number}": 1 for number in range(1000)}},
        {**HELLO, "logit_bias": {f"field{number}": 1 for number in range(100)}},
        {**HELLO, "stop": [1] * 1000},
    ],
    ids=["messages", "parts", "fields", "metadata", "logit_bias", "stop"],
)
def test_mistakes_are_not_collected(body: object) -> None:
    """Ten million of them in one body took a minute and 10 GB to list."""
    with pytest.raises(ValidationError) as caught:
        ChatRequest.model_validate(body)
    assert caught.value.error_count() == 1

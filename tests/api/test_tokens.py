"""Tokens of texts and conversations, by routes that clients of llama-server, vLLM and OpenAI know."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_engine import HereRenderer
from serving_fakes import FakeRouter, client_of, make_app

from localrouter.api.app import create_app
from localrouter.config import Settings
from localrouter.engine.generation_request import Segment
from localrouter.weights.catalog import Catalog
from localrouter.weights.manifest.manifest import Manifest

EURO: dict[str, Any] = {"model": "echo", "content": "1 €"}
BYTES = list("1 €".encode())
USER = {"role": "user", "content": "Hi"}
UNSUPPORTED = "unsupported_parameter"


@pytest.mark.parametrize("root", ["", "/v1"])
async def test_a_text_is_told_in_tokens_and_tokens_in_text(client: httpx.AsyncClient, root: str) -> None:
    tokenized = await client.post(f"{root}/tokenize", json=EURO)
    assert tokenized.json() == {"model": "localrouter-echo", "count": 5, "tokens": BYTES}
    detokenized = await client.post(f"{root}/detokenize", json={"model": "echo", "tokens": BYTES})
    assert detokenized.json() == {"model": "localrouter-echo", "count": 5, "content": "1 €", "prompt": "1 €"}


async def test_a_piece_is_a_string_or_bytes_that_are_none(client: httpx.AsyncClient) -> None:
    answer = await client.post("/tokenize", json={**EURO, "with_pieces": True})
    first, _, third, *_ = answer.json()["tokens"]
    assert first == {"id": 49, "piece": "1"}
    assert third == {"id": 226, "piece": [226]}


@pytest.mark.parametrize(
    ("fields", "control", "begin"),
    [
        ({}, True, False),
        ({"parse_special": None, "add_special": None}, True, False),
        ({"parse_special": False}, False, False),
        ({"add_special": True}, True, True),
    ],
)
async def test_the_defaults_are_those_of_llama_server(
    router: FakeRouter, client: httpx.AsyncClient, fields: dict[str, Any], control: bool, begin: bool
) -> None:
    await client.post("/tokenize", json={**EURO, **fields})
    assert router.fake.tokenized == [([Segment("1 €", control=control)], begin)]


async def test_bytes_that_are_no_text_are_replaced(client: httpx.AsyncClient) -> None:
    answer = await client.post("/detokenize", json={"model": "echo", "tokens": [49, 226]})
    assert answer.json()["content"] == "1\ufffd"


async def test_nothing_is_nothing(client: httpx.AsyncClient) -> None:
    empty = await client.post("/tokenize", json={**EURO, "content": ""})
    assert (empty.json()["count"], empty.json()["tokens"]) == (0, [])
    assert (await client.post("/detokenize", json={"model": "echo", "tokens": []})).json()["content"] == ""


@pytest.mark.parametrize(
    ("path", "body", "param", "code"),
    [
        ("/tokenize", {"content": "a", "model": 3}, "model", "invalid_type"),
        ("/detokenize", {"tokens": [1], "model": ["echo"]}, "model", "invalid_type"),
        ("/tokenize", {"model": "echo"}, "content", "missing_required_parameter"),
        ("/tokenize", {**EURO, "content": ["a"]}, "content", "invalid_type"),
        ("/tokenize", {**EURO, "add_special": 1}, "add_special", "invalid_type"),
        ("/tokenize", {**EURO, "text": "a"}, "text", "unknown_parameter"),
        ("/tokenize", {**EURO, "prompt": "a"}, None, "invalid_value"),
        ("/tokenize", {**EURO, "messages": [USER]}, None, "invalid_value"),
        ("/tokenize", {**EURO, "return_token_strs": True}, None, "invalid_value"),
        ("/tokenize", {"model": "echo", "prompt": "a", "add_special": True}, None, "invalid_value"),
        ("/tokenize", {"model": "echo", "prompt": "a", "tools": []}, None, "invalid_value"),
        ("/tokenize", {"model": "echo", "messages": []}, "messages", "invalid_value"),
        ("/tokenize", {"model": "echo", "messages": [USER], "chat_template": "x"}, "chat_template", UNSUPPORTED),
        (
            "/tokenize",
            {"model": "echo", "messages": [USER], "add_generation_prompt": True, "continue_final_message": True},
            None,
            "invalid_value",
        ),
        ("/v1/chat/completions/input_tokens", {"model": "echo"}, "messages", "missing_required_parameter"),
        ("/detokenize", {"model": "echo"}, "tokens", "missing_required_parameter"),
        ("/detokenize", {"model": "echo", "tokens": "a"}, "tokens", "invalid_type"),
        ("/detokenize", {"model": "echo", "tokens": [1, "a"]}, "tokens[1]", "invalid_type"),
        ("/detokenize", {"model": "echo", "tokens": [-1]}, "tokens[0]", "invalid_value"),
        ("/detokenize", {"model": "echo", "tokens": [256]}, "tokens", "invalid_value"),
    ],
)
async def test_what_is_wrong_is_named(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], param: str | None, code: str
) -> None:
    answer = await client.post(path, json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code)


async def test_the_model_is_kept_for_as_long_as_they_say(router: FakeRouter, client: httpx.AsyncClient) -> None:
    await client.post("/tokenize", json={**EURO, "ttl": 30})
    await client.post("/detokenize", json={"model": "echo", "tokens": [], "ttl": 0})
    assert router.ttls == [30, 0]


async def test_vllms_form_has_its_own_response(router: FakeRouter, client: httpx.AsyncClient) -> None:
    answer = await client.post("/tokenize", json={"model": "echo", "prompt": "1 €", "return_token_strs": True})
    assert answer.json() == {
        "model": "localrouter-echo",
        "count": 5,
        "max_model_len": 4096,
        "tokens": BYTES,
        "token_strs": ["1", " ", "\ufffd", "\ufffd", "\ufffd"],
    }
    assert router.fake.tokenized == [([Segment("1 €", control=True)], True)]


@pytest.mark.parametrize(
    ("fields", "ending", "begin"),
    [
        ({}, "Hi<|im_end|>\n<|im_start|>assistant\n", False),
        ({"add_generation_prompt": False}, "Hi<|im_end|>\n", False),
        ({"add_special_tokens": True}, "Hi<|im_end|>\n<|im_start|>assistant\n", True),
    ],
)
async def test_a_conversation_is_rendered_first(
    router: FakeRouter, client: httpx.AsyncClient, fields: dict[str, Any], ending: str, begin: bool
) -> None:
    answer = await client.post("/tokenize", json={"model": "echo", "messages": [USER], **fields})
    assert bytes(answer.json()["tokens"]).decode() == f"<|im_start|>user\n{ending}"
    assert router.fake.tokenized[-1][1] is begin


async def test_a_message_can_be_continued(client: httpx.AsyncClient) -> None:
    turns = [USER, {"role": "assistant", "content": "Well,"}]
    answer = await client.post("/tokenize", json={"model": "echo", "messages": turns, "continue_final_message": True})
    assert bytes(answer.json()["tokens"]).endswith(b"<|im_start|>assistant\nWell,")


@pytest.mark.parametrize("root", ["", "/v1"])
async def test_the_input_tokens_of_a_chat_request_are_counted(client: httpx.AsyncClient, root: str) -> None:
    body = {"model": "echo", "messages": [USER], "temperature": 0.5}
    counted = await client.post("/v1/chat/completions/input_tokens", json=body)
    rendered = await client.post(f"{root}/tokenize", json={"model": "echo", "messages": [USER]})
    assert counted.json() == {
        "object": "chat.completion.input_tokens",
        "model": "localrouter-echo",
        "input_tokens": rendered.json()["count"],
    }


@pytest.mark.parametrize("path", ["/tokenizer_info", "/v1/tokenizer_info", "/tokenizer_info?model=echo"])
async def test_the_tokenizer_is_described(client: httpx.AsyncClient, path: str) -> None:
    found = (await client.get(path)).json()
    assert (found["model"], found["vocab_size"], found["model_max_length"]) == ("localrouter-echo", 256, 4096)
    assert (found["eos_token"], found["bos_token"], found["chat_template"]) == ("<|im_end|>", None, None)


async def test_the_description_of_the_tokenizer_answers_head(client: httpx.AsyncClient) -> None:
    answer = await client.head("/tokenizer_info")
    assert (answer.status_code, answer.content) == (200, b"")


async def test_the_description_has_the_name_asked_for_where_that_is_set() -> None:
    async with client_of(make_app(FakeRouter(), Settings(echo_model_name=True))) as client:
        assert (await client.get("/tokenizer_info?model=Echo")).json()["model"] == "Echo"


async def test_the_only_model_needs_no_name(client: httpx.AsyncClient) -> None:
    for path, body in (("/tokenize", {"content": "a"}), ("/detokenize", {"tokens": [97]})):
        assert (await client.post(path, json=body)).json()["model"] == "localrouter-echo"


async def test_of_several_models_one_has_to_be_named() -> None:
    catalog = Catalog(
        Manifest.model_validate({"version": 1, "models": {}}), Path.cwd(), dict.fromkeys("ab", "builtin:echo")
    )
    app = create_app(FakeRouter(), catalog, Settings(), HereRenderer())
    async with client_of(app) as client:
        for answer in (await client.get("/tokenizer_info"), await client.post("/tokenize", json={"prompt": "a"})):
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")
            assert "Models of this server: a, b" in answer.json()["error"]["message"]

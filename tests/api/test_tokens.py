"""`POST /tokenize` and `POST /detokenize`, which clients of llama-server know."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from serving_fakes import FakeRouter, client_of, make_app

from localrouter.engine.messages import Segment

EURO: dict[str, Any] = {"model": "echo", "content": "1 €"}
BYTES = list("1 €".encode())


@pytest.fixture
def router() -> FakeRouter:
    return FakeRouter()


@pytest.fixture
async def client(router: FakeRouter) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(make_app(router)) as client:
        yield client


@pytest.mark.parametrize("root", ["", "/v1"])
async def test_a_text_is_told_in_tokens_and_tokens_in_text(client: httpx.AsyncClient, root: str) -> None:
    tokenized = await client.post(f"{root}/tokenize", json=EURO)
    assert tokenized.json() == {"model": "localrouter-echo", "count": 5, "tokens": BYTES}
    detokenized = await client.post(f"{root}/detokenize", json={"model": "echo", "tokens": BYTES})
    assert detokenized.json() == {"model": "localrouter-echo", "count": 5, "content": "1 €"}


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
        ("/tokenize", {"model": "echo"}, "content", "missing_required_parameter"),
        ("/tokenize", {**EURO, "content": ["a"]}, "content", "invalid_type"),
        ("/tokenize", {**EURO, "add_special": 1}, "add_special", "invalid_type"),
        ("/tokenize", {**EURO, "prompt": "a"}, "prompt", "unknown_parameter"),
        ("/detokenize", {"tokens": [1], "model": ["echo"]}, "model", "invalid_type"),
        ("/detokenize", {"model": "echo"}, "tokens", "missing_required_parameter"),
        ("/detokenize", {"model": "echo", "tokens": "a"}, "tokens", "invalid_type"),
        ("/detokenize", {"model": "echo", "tokens": [1, "a"]}, "tokens[1]", "invalid_type"),
        ("/detokenize", {"model": "echo", "tokens": [-1]}, "tokens[0]", "invalid_value"),
        ("/detokenize", {"model": "echo", "tokens": [256]}, "tokens", "invalid_value"),
    ],
)
async def test_what_is_wrong_is_named(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], param: str, code: str
) -> None:
    answer = await client.post(path, json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code)


async def test_the_model_is_kept_for_as_long_as_they_say(router: FakeRouter, client: httpx.AsyncClient) -> None:
    await client.post("/tokenize", json={**EURO, "ttl": 30})
    await client.post("/detokenize", json={"model": "echo", "tokens": [], "ttl": 0})
    assert router.ttls == [30, 0]

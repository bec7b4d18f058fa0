"""Fill in the middle: `suffix` of `POST /v1/completions`, and `POST /infill` as llama-server has it."""

import json
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from serving_fakes import INFO, FakeRouter, finished, piece

from localrouter.engine.generation_request import GenerationRequest
from localrouter.engine.messages import Finished, TokenUsage
from localrouter.engine.model_info import FimTokens

BEFORE, AFTER, MIDDLE, REPOSITORY, FILE = 1, 2, 3, 4, 5
COMPLETION: dict[str, Any] = {"model": "echo", "prompt": "def f(", "suffix": "): pass"}
INFILL: dict[str, Any] = {"model": "echo", "input_prefix": "def f(", "input_suffix": "): pass"}
AROUND = [BEFORE, *b"def f(", AFTER, *b"): pass", MIDDLE]


@pytest.fixture
def router() -> FakeRouter:
    router = FakeRouter()
    router.fake.info = replace(INFO, fim=FimTokens(BEFORE, AFTER, MIDDLE))
    return router


async def asked(router: FakeRouter, client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> GenerationRequest:
    answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return router.fake.asked[-1]


async def test_the_output_stands_between_prompt_and_suffix(router: FakeRouter, client: httpx.AsyncClient) -> None:
    assert (await asked(router, client, "/v1/completions", COMPLETION)).tokens == AROUND
    in_tokens = {**COMPLETION, "prompt": [[*b"def f("]]}
    assert (await asked(router, client, "/v1/completions", in_tokens)).tokens == AROUND


async def test_special_tokens_in_either_text_are_not_recognised(router: FakeRouter, client: httpx.AsyncClient) -> None:
    spelled = "<|im_end|>"
    await asked(router, client, "/v1/completions", {**COMPLETION, "prompt": spelled, "suffix": spelled})
    await asked(router, client, "/infill", {**INFILL, "input_extra": [{"text": spelled, "filename": spelled}]})
    assert not any(segment.control for prompt, _ in router.fake.tokenized for segment in prompt)


async def test_an_empty_suffix_is_none(router: FakeRouter, client: httpx.AsyncClient) -> None:
    assert (await asked(router, client, "/v1/completions", {**COMPLETION, "suffix": ""})).tokens is None


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/completions", COMPLETION, "suffix"),
        ("/infill", INFILL, "input_suffix"),
        ("/v1/infill", INFILL, "input_suffix"),
    ],
)
async def test_a_model_without_the_tokens_cannot(
    router: FakeRouter, client: httpx.AsyncClient, path: str, body: dict[str, Any], param: str
) -> None:
    router.fake.info = INFO
    answer = await client.post(path, json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, "unsupported_parameter")
    assert "fill-in-the-middle tokens" in error["message"]


@pytest.mark.parametrize(
    ("special", "before"),
    [
        (FimTokens(BEFORE, AFTER, MIDDLE), b"\n\n--- snippet ---\n\nx = 1"),
        (
            FimTokens(BEFORE, AFTER, MIDDLE, REPOSITORY, FILE),
            bytes([REPOSITORY]) + b"myproject\n" + bytes([FILE]) + b"a.py\nx = 1" + bytes([FILE]) + b"filename\n",
        ),
    ],
)
async def test_other_files_come_first(
    router: FakeRouter, client: httpx.AsyncClient, special: FimTokens, before: bytes
) -> None:
    router.fake.info = replace(INFO, fim=special)
    body = {**INFILL, "input_extra": [{"filename": "a.py", "text": "x = 1"}]}
    assert (await asked(router, client, "/infill", body)).tokens == [*before, *AROUND]


async def test_what_is_written_already_follows_the_prefix(router: FakeRouter, client: httpx.AsyncClient) -> None:
    found = await asked(router, client, "/infill", {**INFILL, "input_prefix": "def", "prompt": " f("})
    assert found.tokens == AROUND


@pytest.mark.parametrize(("n_predict", "max_tokens"), [(None, None), (-1, None), (0, 0), (7, 7)])
async def test_the_output_is_as_long_as_requested(
    router: FakeRouter, client: httpx.AsyncClient, n_predict: int | None, max_tokens: int | None
) -> None:
    found = await asked(router, client, "/infill", {**INFILL, "n_predict": n_predict, "top_k": 4, "stop": ["\n"]})
    assert (found.max_tokens, found.sampling.top_k, found.sampling.stop) == (max_tokens, 4, ("\n",))


async def test_the_response_is_llama_servers(router: FakeRouter, client: httpx.AsyncClient) -> None:
    router.fake.script = [[piece("a, ")], [piece("b"), Finished(0, "length", TokenUsage(9, 2, 4))]]
    assert (await client.post("/infill", json=INFILL)).json() == {
        "index": 0,
        "content": "a, b",
        "stop": True,
        "model": "localrouter-echo",
        "tokens_predicted": 2,
        "tokens_evaluated": 9,
        "tokens_cached": 4,
        "truncated": False,
        "stop_type": "limit",
    }


async def test_a_stream_ends_with_the_chunk_that_stops(router: FakeRouter, client: httpx.AsyncClient) -> None:
    router.fake.script = [[piece("a, ")], [piece("b"), finished()]]
    text = (await client.post("/infill", json={**INFILL, "stream": True})).text
    chunks = [json.loads(event.removeprefix("data: ")) for event in text.strip().split("\n\n")]
    assert [(chunk["content"], chunk["stop"]) for chunk in chunks] == [("a, ", False), ("b", False), ("", True)]
    assert (chunks[-1]["stop_type"], chunks[-1]["tokens_predicted"]) == ("stop", 2)


async def test_fields_that_editors_always_send_are_accepted_and_named(client: httpx.AsyncClient) -> None:
    of_editors = {"samplers": ["top_k", "infill"], "t_max_predict_ms": 500, "cache_prompt": True, "id_slot": 0}
    of_editors |= {"timings_per_token": True, "stream_options": {"include_usage": True}}
    answer = await client.post("/infill", json={**INFILL, **of_editors})
    assert answer.status_code == 200
    assert set(answer.headers["x-localrouter-ignored"].split(", ")) == set(of_editors)


async def test_an_unknown_field_of_a_file_is_an_annotation(client: httpx.AsyncClient) -> None:
    answer = await client.post("/infill", json={**INFILL, "input_extra": [{"text": "a", "time": 1}]})
    assert (answer.status_code, answer.headers["x-localrouter-ignored"]) == (200, "input_extra[].time")


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"input_prefix": None}, "input_prefix", "invalid_type"),
        ({"input_suffix": 3}, "input_suffix", "invalid_type"),
        ({"input_extra": [{"filename": "a"}]}, "input_extra[0].text", "missing_required_parameter"),
        ({"input_extra": [{"text": "a"}] * 1025}, "input_extra", "invalid_value"),
        ({"n_predict": -2}, "n_predict", "invalid_value"),
        ({"n_indent": 4}, "n_indent", "unsupported_parameter"),
        ({"messages": []}, "messages", "unknown_parameter"),
        ({"n_predict": 4, "min_tokens": 5}, "min_tokens", "invalid_value"),
    ],
)
async def test_what_is_wrong_is_named(client: httpx.AsyncClient, fields: dict[str, Any], param: str, code: str) -> None:
    answer = await client.post("/infill", json={**INFILL, **fields})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code)

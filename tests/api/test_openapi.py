"""The OpenAPI document: valid, complete, offline, and true for the requests and responses of the tests."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel, SecretStr
from serving_fakes import CHAT, HELLO, FakeRouter, client_of, make_app, ready_status

from localrouter.api.error_responses import STATUS
from localrouter.api.openapi.document import ERRORS, document_body
from localrouter.api.openapi.operations import OPERATIONS
from localrouter.api.openapi.schemas import components
from localrouter.config import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```json request POST (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
DOCUMENT = json.loads(document_body(locked=False))
LOCKED = json.loads(document_body(locked=True))
SCHEMAS = DOCUMENT["components"]["schemas"]


def validator(schema: Any) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def request_of(path: str) -> Draft202012Validator:
    """A validator of the body of `POST path`."""
    return validator(DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"])


def response_of(path: str, method: str, status: int = 200, media: str = "application/json") -> Draft202012Validator:
    """A validator of a body in a response of a path."""
    response = DOCUMENT["paths"][path][method]["responses"][str(status)]
    if "$ref" in response:
        response = DOCUMENT["components"]["responses"][response["$ref"].rpartition("/")[2]]
    return validator(response["content"][media]["schema"])


@pytest.mark.parametrize("made", [DOCUMENT, LOCKED], ids=["without a key", "with a key"])
def test_the_document_is_valid_openapi_3_1(made: Any) -> None:
    assert made["openapi"].startswith("3.1.")
    assert list(OpenAPIV31SpecValidator(made).iter_errors()) == []


def test_every_schema_is_a_json_schema() -> None:
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)


def test_the_document_has_the_routes_of_the_application() -> None:
    routes = {
        (route.path_format, method.lower())
        for route in make_app(FakeRouter()).routes
        for method in route.methods
        if method not in ("HEAD", "OPTIONS")
    }
    described = {(path, method) for path, item in DOCUMENT["paths"].items() for method in item}
    assert described == routes


def test_every_status_of_an_error_is_described() -> None:
    assert set(STATUS.values()) - {405} == ERRORS.keys()  # a documented method is allowed


def test_the_document_names_no_address() -> None:
    assert not re.search(r"https?:|www\.|//[a-z]", document_body(locked=True).decode())


def test_a_key_is_required_only_by_a_server_that_has_one() -> None:
    for operation in OPERATIONS:
        for path in operation.paths:
            open_, locked = (made["paths"][path][operation.method]["security"] for made in (DOCUMENT, LOCKED))
            assert open_ == []
            assert [*map(list, locked)] == ([["bearer"], ["x_api_key"], ["api_key"]] if operation.needs_key else [])


@pytest.mark.parametrize(("path", "body"), EXAMPLES, ids=lambda text: repr(text[:60]))
def test_an_example_of_the_documentation_is_a_valid_request(path: str, body: str) -> None:
    assert [error.message for error in request_of(path).iter_errors(json.loads(body))] == []


@pytest.mark.parametrize(
    "change",
    [
        {"stop": ["a", "b"], "seed": 16.0, "max_tokens": -1, "logit_bias": {"5": -100}},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}], "tool_choice": "auto"},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}, "response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}, "audio": None},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}], "id": "m1"}]},
        {"modalities": ["text"], "store": True, "stream_options": {"include_usage": True}},
    ],
)
async def test_a_request_that_is_answered_is_valid(client: httpx.AsyncClient, change: dict[str, Any]) -> None:
    body = {**HELLO, "stream": True, **change}
    assert [error.message for error in request_of(CHAT).iter_errors(body)] == []


@pytest.mark.parametrize(
    "change",
    [
        {"messages": []},
        {"messages": [{"role": "judge", "content": ""}]},
        {"temperature": 3},
        {"n": 0},
        {"seed": 2**63},
        {"max_tokens": 0},
        {"modalities": ["audio"]},
        {"stop": [1]},
        {"tools": [{"type": "function", "function": {"name": ""}}]},
    ],
)
async def test_a_request_that_is_rejected_is_invalid(client: httpx.AsyncClient, change: dict[str, Any]) -> None:
    assert not request_of(CHAT).is_valid({**HELLO, **change})
    assert (await client.post(CHAT, json={**HELLO, **change})).status_code == 400


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, HELLO),
        (CHAT, {**HELLO, "logprobs": True}),
        ("/v1/chat/completions/explain", HELLO),
        ("/v1/completions", {"model": "echo", "prompt": "Hello"}),
        ("/tokenize", {"model": "echo", "content": "Hello"}),
        ("/tokenize", {"model": "echo", "content": "Hello", "with_pieces": True}),
        ("/detokenize", {"model": "echo", "tokens": [65]}),
    ],
)
async def test_a_response_has_the_form_of_the_document(client: httpx.AsyncClient, path: str, body: Any) -> None:
    answer = await client.post(path, json=body)
    assert answer.status_code == 200
    assert [error.message for error in response_of(path, "post").iter_errors(answer.json())] == []


@pytest.mark.parametrize("path", ["/", "/health", "/health/live", "/health/ready", "/v1/models", "/models"])
async def test_what_a_get_returns_has_the_form_of_the_document(
    router: FakeRouter, client: httpx.AsyncClient, path: str
) -> None:
    router.statuses = [ready_status()]
    answer = await client.get(path)
    assert answer.headers["content-type"] == "application/json"
    assert [error.message for error in response_of(path, "get").iter_errors(answer.json())] == []


@pytest.mark.parametrize(("path", "body"), [(CHAT, HELLO), ("/v1/completions", {"model": "echo", "prompt": "Hello"})])
async def test_the_chunks_of_a_stream_have_the_form_of_the_document(
    client: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    answer = await client.post(path, json={**body, "stream": True, "stream_options": {"include_usage": True}})
    *chunks, done = re.findall(r"^data: (.*)$", answer.text, re.MULTILINE)
    of_a_chunk = response_of(path, "post", media="text/event-stream")
    assert done == "[DONE]"
    assert chunks
    assert [error.message for chunk in chunks for error in of_a_chunk.iter_errors(json.loads(chunk))] == []


async def test_an_error_has_the_form_of_the_document(client: httpx.AsyncClient) -> None:
    answer = await client.post(CHAT, json={})
    assert response_of(CHAT, "post", 400).is_valid(answer.json())
    assert not response_of(CHAT, "post", 400).is_valid({"error": {}})


@pytest.mark.parametrize("path", ["/schema", "/schema/openapi.json"])
async def test_the_server_sends_the_document(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.headers["content-type"] == "application/vnd.oai.openapi+json"
    assert answer.json() == DOCUMENT


async def test_the_document_of_a_server_with_a_key_requires_it(router: FakeRouter) -> None:
    async with client_of(make_app(router, Settings(api_key=SecretStr("sesame")))) as client:
        answer = await client.get("/schema")
    assert answer.json() == LOCKED
    assert "sesame" not in answer.text


def test_the_module_prints_the_document() -> None:
    command = [sys.executable, "-m", "localrouter.api.openapi"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    assert json.loads(printed) == LOCKED


def test_two_types_of_one_name_are_an_error() -> None:
    class Same(BaseModel):
        pass

    with pytest.raises(ValueError, match="same name: \\['Same'\\]"):
        components([Same], [msgspec.defstruct("Same", [("a", int)])])

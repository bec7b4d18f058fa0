"""The tree of errors.py as HTTP: status, OpenAI's object, headers. Nothing that Litestar raises looks different."""

import json
import logging

import httpx
import pytest
from pydantic import SecretStr
from serving_fakes import CHAT, HELLO, FakeRouter, client_of, make_app

from localrouter import errors
from localrouter.api.access_log import AccessRecord
from localrouter.api.error_responses import STATUS, problem_of
from localrouter.config import Settings

TREE = [
    (errors.InvalidRequest("x", param="p", code="c"), 400, "invalid_request_error", "c", {}),
    (errors.ContextLengthExceeded(9, 8), 400, "invalid_request_error", "context_length_exceeded", {}),
    (errors.AuthenticationFailed("x"), 401, "invalid_request_error", "invalid_api_key", {"www-authenticate": "Bearer"}),
    (errors.HostNotAllowed("x"), 403, "invalid_request_error", "host_not_allowed", {}),
    (errors.OriginNotAllowed("x"), 403, "invalid_request_error", "origin_not_allowed", {}),
    (errors.RouteNotFound("x"), 404, "invalid_request_error", "unknown_url", {}),
    (errors.ModelNotFound("x"), 404, "invalid_request_error", "model_not_found", {}),
    (errors.ModelNotDownloaded("x"), 404, "invalid_request_error", "model_not_downloaded", {}),
    (errors.MethodNotAllowed("x"), 405, "invalid_request_error", "method_not_allowed", {}),
    (errors.BodyTooLarge("x"), 413, "invalid_request_error", "request_too_large", {"connection": "close"}),
    (errors.UnsupportedMediaType("x"), 415, "invalid_request_error", "unsupported_media_type", {}),
    (
        errors.UnsupportedMediaType("x", encodings=["a", "b"], code="c"),
        415,
        "invalid_request_error",
        "c",
        {"accept-encoding": "a, b"},
    ),
    (errors.Overloaded("x", retry_after=7), 429, "rate_limit_error", "queue_full", {"retry-after": "7"}),
    (errors.EngineFailed("x"), 500, "server_error", "engine_failed", {}),
    (errors.ModelLoadFailed("x"), 500, "server_error", "model_load_failed", {"x-should-retry": "false"}),
    (
        errors.OffloadFailed("x", crashed=True),
        500,
        "server_error",
        "model_load_failed",
        {"x-should-retry": "false"},
    ),
    (errors.ShuttingDown("x"), 503, "server_error", "shutting_down", {"retry-after": "5"}),
]


@pytest.mark.parametrize(("error", "status", "kind", "code", "headers"), TREE)
def test_each_error_has_its_status_and_words(
    error: errors.LocalrouterError, status: int, kind: str, code: str, headers: dict[str, str]
) -> None:
    problem = problem_of(error, AccessRecord())
    told = problem.body.error
    assert (problem.status, told.type, told.code, dict(problem.headers)) == (status, kind, code, headers)
    assert (told.message, told.param) == (error.message, error.param)


def test_no_class_of_the_tree_is_forgotten() -> None:
    def leaves(kind: type[Exception]) -> set[type[Exception]]:
        below = kind.__subclasses__()
        return {leaf for each in below for leaf in leaves(each)} if below else {kind}

    tested = {type(error) for error, *_ in TREE}
    assert leaves(errors.RequestError) | leaves(errors.ServiceError) <= tested
    assert leaves(errors.RequestError) <= set(STATUS)


@pytest.mark.parametrize("error", [RuntimeError("/home/me/secret"), errors.ConfigError("/home/me/secret"), KeyError(1)])
async def test_what_nobody_foresaw_is_told_to_the_log_alone(
    router: FakeRouter, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    router.error = error
    answer = await client.post(CHAT, json=HELLO)
    told = answer.json()["error"]
    assert (answer.status_code, told["type"], told["code"]) == (500, "server_error", "internal_error")
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in told["message"]
    (logged,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert logged.exc_info is not None


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/chat", 404, "unknown_url"),
        ("GET", "/v1", 404, "unknown_url"),
        ("GET", "/schema/swagger", 404, "unknown_url"),
        ("POST", "/", 405, "method_not_allowed"),
        ("POST", "/schema", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("GET", "/chat/completions", 405, "method_not_allowed"),
        ("POST", "/v1/embeddings", 404, "unknown_url"),
        ("POST", "/v1/" + "x" * 5000, 404, "unknown_url"),
        ("GET", "/%ff%00", 404, "unknown_url"),
        ("GET", CHAT, 405, "method_not_allowed"),
        ("GET", "/v1/completions", 405, "method_not_allowed"),
        ("GET", "/v1/tokenize", 405, "method_not_allowed"),
        ("PUT", "/detokenize", 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("BREW", "/health/live", 405, "method_not_allowed"),
    ],
)
async def test_a_wrong_route_is_refused_as_openai_does(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers["x-request-id"].startswith("req_")
    assert ("allow" in answer.headers) == (status == 405)


async def test_options_says_what_is_allowed_and_head_is_get_without_a_body(client: httpx.AsyncClient) -> None:
    options = await client.options(CHAT)
    assert (options.status_code, options.headers["allow"]) == (204, "OPTIONS, POST")
    head = await client.head("/v1/models")
    assert (head.status_code, head.content) == (200, b"")


LOCKED = Settings(api_key=SecretStr("sésame"))


@pytest.mark.parametrize(
    "header",
    [None, b"", b"Bearer", b"Bearer ", b"Bearer wrong", b"Basic s\xc3\xa9same", b"s\xc3\xa9same", b"Bearer \xff\xfe"],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("GET", "/v1/models/echo"),
        ("GET", "/models"),
        ("GET", "/models/echo"),
        *(("POST", path) for path in (CHAT, "/v1/completions", "/v1/tokenize", "/tokenize", "/detokenize")),
        *(("POST", path) for path in ("/chat/completions", "/chat/completions/explain", "/completions")),
    ],
)
async def test_without_the_key_no_route_but_health_answers(
    router: FakeRouter, header: bytes | None, method: str, path: str
) -> None:
    headers = [] if header is None else [(b"authorization", header)]
    async with client_of(make_app(router, LOCKED)) as client:
        answer = await client.request(method, path, headers=headers, content=b"not even JSON")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/", "/health", "/v1/health", "/health/live", "/health/ready", "/schema"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_routes_about_the_server_need_no_key(router: FakeRouter, method: str, path: str) -> None:
    async with client_of(make_app(router, LOCKED)) as client:
        answer = await client.request(method, path)
    assert answer.status_code == 200
    assert bool(answer.content) == (method == "GET")
    assert "localrouter-echo" not in answer.text


async def test_with_the_key_it_is_and_health_needs_none(router: FakeRouter) -> None:
    key = "bearer sésame".encode()
    async with client_of(make_app(router, LOCKED)) as client:
        assert (await client.get("/v1/models", headers=[(b"authorization", key)])).status_code == 200
        assert (await client.get("/health/ready")).status_code == 200


KEY = "sésame".encode()
BEARER = (b"authorization", b"Bearer " + KEY)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([BEARER], 200),
        ([(b"x-api-key", KEY)], 200),
        ([(b"api-key", b" " + KEY + b" ")], 200),
        ([BEARER, (b"x-api-key", KEY), (b"api-key", KEY)], 200),
        ([BEARER, BEARER, (b"x-api-key", b"")], 200),
        ([(b"authorization", b"Basic dTpw"), (b"x-api-key", KEY)], 200),
        ([(b"x-api-key", b"wrong")], 401),
        ([(b"x-api-key", b"Bearer " + KEY)], 401),
        ([(b"authorization", b"Bearer wrong"), (b"x-api-key", KEY)], 401),
        ([BEARER, (b"api-key", b"wrong")], 401),
        ([BEARER, (b"authorization", b"Bearer wrong")], 401),
        ([(b"x-api-key", KEY), (b"x-api-key", b"wrong")], 401),
        ([(b"x-api-key", KEY[:-1])], 401),
        ([(b"api-key", b"\xff\xfe")], 401),
    ],
)
async def test_the_key_may_be_in_several_headers_if_it_is_the_same_in_all(
    router: FakeRouter, headers: list[tuple[bytes, bytes]], status: int
) -> None:
    async with client_of(make_app(router, LOCKED)) as client:
        answer = await client.get("/v1/models", headers=headers)
    assert answer.status_code == status


async def test_different_keys_are_an_error_that_says_so(router: FakeRouter) -> None:
    async with client_of(make_app(router, LOCKED)) as client:
        answer = await client.get("/v1/models", headers=[BEARER, (b"x-api-key", b"other")])
    assert answer.json()["error"]["message"].startswith("Different API keys were given in the headers")


SMALL = Settings(max_body=1024)


@pytest.mark.parametrize("size", [1025, 4 * 1024, 10**6])
async def test_a_body_over_the_limit_is_a_413(router: FakeRouter, size: int) -> None:
    async with client_of(make_app(router, SMALL)) as client:
        answer = await client.post(CHAT, content=b" " * size)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


async def test_a_body_at_the_limit_is_read(router: FakeRouter) -> None:
    body = json.dumps(HELLO).encode()
    async with client_of(make_app(router, SMALL)) as client:
        answer = await client.post(CHAT, content=body + b" " * (1024 - len(body)))
    assert answer.status_code == 200

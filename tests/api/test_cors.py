"""Web pages of allowed origins: preflights, and the headers of CORS on every response."""

import time
from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr
from serving_fakes import CHAT, HELLO, FakeRouter, client_of, make_app

from localrouter.api.cors import EXPOSED, Origins
from localrouter.config import Settings

PAGE = {"origin": "http://page.example"}
FOREIGN = {"origin": "http://evil.example"}
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
LOCKED = Settings(allow_origin=("http://page.example",), api_key=SecretStr("k"))


@pytest.fixture
async def client(router: FakeRouter) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(allow_origin=("http://page.example",), max_body=1024)
    async with client_of(make_app(router, settings)) as client:
        yield client


def words(answer: httpx.Response, header: str) -> set[str]:
    return {word.strip().lower() for word in answer.headers[header].split(",")}


async def test_a_preflight_of_an_allowed_origin_needs_no_key(router: FakeRouter) -> None:
    async with client_of(make_app(router, LOCKED)) as client:
        answer = await client.options(CHAT, headers=PAGE | PREFLIGHT)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "http://page.example"
    assert words(answer, "access-control-allow-methods") == {"get", "head", "post"}
    assert words(answer, "vary") >= {"origin"}
    assert "access-control-allow-private-network" not in answer.headers
    assert answer.headers["x-request-id"]


async def test_a_preflight_allows_the_headers_it_asks_for_beside_the_usual_ones(client: httpx.AsyncClient) -> None:
    asked = {"access-control-request-headers": "X-Stainless-OS,x-stainless-lang, x-anything,,\x7f bad,bad:"}
    answer = await client.options(CHAT, headers=PAGE | PREFLIGHT | asked)
    usual = {"authorization", "content-type", "x-api-key", "api-key"}
    asked_for = {"x-stainless-os", "x-stainless-lang", "x-anything"}
    assert words(answer, "access-control-allow-headers") == usual | asked_for


async def test_a_preflight_with_ten_thousand_headers_gets_a_short_response(client: httpx.AsyncClient) -> None:
    asked = {"access-control-request-headers": ",".join(f"x-{n}" for n in range(10_000))}
    answer = await client.options(CHAT, headers=PAGE | PREFLIGHT | asked)
    assert answer.status_code == 204
    assert len(answer.headers["access-control-allow-headers"]) < 2000


async def test_a_page_of_another_network_may_ask_for_this_one(client: httpx.AsyncClient) -> None:
    asked = {"access-control-request-private-network": "true"}
    answer = await client.options(CHAT, headers=PAGE | PREFLIGHT | asked)
    assert answer.headers["access-control-allow-private-network"] == "true"


@pytest.mark.parametrize(
    ("settings", "status"), [(Settings(), 403), (LOCKED, 401), (Settings(api_key=SecretStr("k")), 401)]
)
async def test_a_preflight_of_another_origin_allows_nothing(
    router: FakeRouter, settings: Settings, status: int
) -> None:
    async with client_of(make_app(router, settings)) as client:
        answer = await client.options(CHAT, headers=FOREIGN | PREFLIGHT)
    assert answer.status_code == status
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_options_without_what_makes_a_preflight_lists_the_methods_of_the_route(client: httpx.AsyncClient) -> None:
    answer = await client.options(CHAT, headers=PAGE)
    assert words(answer, "allow") == {"options", "post"}
    assert "access-control-allow-methods" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("POST", CHAT, {"json": HELLO}, 200),
        ("POST", CHAT, {"json": {**HELLO, "stream": True}}, 200),
        ("GET", "/v1/models", {}, 200),
        ("POST", CHAT, {"json": {}}, 400),
        ("GET", "/v1/models", {"headers": {"host": "evil.example"}}, 403),
        ("GET", "/nowhere", {}, 404),
        ("GET", CHAT, {}, 405),
        ("POST", CHAT, {"content": b" " * 2000}, 413),
        ("POST", CHAT, {"content": b"a", "headers": {"content-type": "text/plain"}}, 415),
    ],
)
async def test_an_allowed_page_may_read_every_response(
    client: httpx.AsyncClient, method: str, path: str, options: dict[str, object], status: int
) -> None:
    client.headers.update(PAGE)
    answer = await client.request(method, path, **options)  # type: ignore[arg-type]
    assert answer.status_code == status
    assert answer.headers.get_list("access-control-allow-origin") == ["http://page.example"]
    assert words(answer, "access-control-expose-headers") == set(EXPOSED.decode().split(", "))
    assert answer.headers["vary"] == "Origin"


async def test_a_wrong_key_is_told_to_an_allowed_page(router: FakeRouter) -> None:
    async with client_of(make_app(router, LOCKED)) as client:
        answer = await client.get("/v1/models", headers=PAGE)
        foreign = await client.get("/v1/models", headers=FOREIGN | {"authorization": "Bearer k"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, "http://page.example")
    assert foreign.status_code == 200
    assert "access-control-allow-origin" not in foreign.headers


async def test_caches_learn_that_responses_vary_also_without_an_origin(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/models")).headers["vary"] == "Origin"


@pytest.mark.parametrize("origin", ["http://page.example", "https://other.example", "null"])
async def test_a_star_allows_every_origin_without_credentials(router: FakeRouter, origin: str) -> None:
    async with client_of(make_app(router, Settings(allow_origin=("*",)))) as client:
        preflight = await client.options(CHAT, headers={"origin": origin} | PREFLIGHT)
        answer = await client.post(CHAT, json=HELLO, headers={"origin": origin, "sec-fetch-site": "cross-site"})
        rebound = await client.post(CHAT, json=HELLO, headers={"origin": "http://evil.example", "host": "evil.example"})
    assert (preflight.status_code, answer.status_code, rebound.status_code) == (204, 200, 403)
    for each in (preflight, answer):
        assert each.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in each.headers


async def test_without_allowed_origins_no_response_has_a_header_of_cors(router: FakeRouter) -> None:
    async with client_of(make_app(router)) as client:
        answer = await client.get("/v1/models", headers={"origin": "http://localhost"})
    assert answer.status_code == 200
    assert not {"vary", *(name for name in answer.headers if name.startswith("access-"))} & set(answer.headers)


def test_a_thousand_origins_are_as_fast_as_one() -> None:
    def seconds(origins: Origins) -> float:
        started = time.perf_counter()
        for _ in range(20_000):
            assert "http://evil.example" not in origins
        return time.perf_counter() - started

    one, thousand = Origins(["http://a0.example"]), Origins(f"http://a{n}.example" for n in range(1000))
    assert "http://a999.example" in thousand
    assert min(seconds(thousand) for _ in range(5)) < 5 * min(seconds(one) for _ in range(5))

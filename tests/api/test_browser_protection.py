"""Which Host and Origin a server without an API key accepts, and which content types of a body."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import SecretStr
from serving_fakes import CHAT, HELLO, FakeRouter, client_of, make_app

from localrouter.config import Settings

BODY = json.dumps(HELLO).encode()
LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.fixture
async def client(router: FakeRouter) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(allow_host=("Box", "two.example"), allow_origin=("http://page.example", "app://notes"))
    async with client_of(make_app(router, settings)) as client:
        yield client


def code_of(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json()["error"]["code"] if answer.status_code >= 400 else None


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8000",
        "localhost.:8000",
        "localhost:",
        "chat.localhost:8000",
        "127.0.0.1:8000",
        "127.1.2.3",
        "192.168.1.5:8000",
        "[::1]:8000",
        "[::1]",
        "[::ffff:127.0.0.1]:8000",
        "box:8000",
        "BOX.",
        "two.example",
    ],
)
async def test_own_names_and_addresses_are_accepted(client: httpx.AsyncClient, host: str) -> None:
    answer = await client.post(CHAT, json=HELLO, headers={"host": host})
    assert code_of(answer) == (200, None)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "notlocalhost",
        "localhost..",
        "box.evil.example",
        "evil-two.example",
        "2130706433",
        "0x7f.1",
        "127.1",
        "[::1::]",
        "xn--bcher-kva.example",
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/health/live", "/nowhere"])
async def test_another_name_is_a_403_on_every_path(client: httpx.AsyncClient, host: str, path: str) -> None:
    answer = await client.get(path, headers={"host": host})
    assert code_of(answer) == (403, "host_not_allowed")
    assert "--allow-host" in answer.json()["error"]["message"]
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    "hosts",
    [
        [b""],
        [b" "],
        [b"localhost", b"localhost"],
        [b"localhost", b"evil.example"],
        [b"localhost" * 1200],
        [b"evil.example@localhost"],
        [b"localhost:8000:8000"],
        [b"localhost:port"],
        [b"localhost/path"],
        [b"localhost, evil.example"],
        [b"local host"],
        [b"::1"],
        [b"[::1"],
        [b"localhost\xff"],
        [b"b\xc3\xbccher"],
        [b"%6cocalhost"],
    ],
)
@pytest.mark.parametrize("key", [None, "k"])
async def test_a_malformed_host_is_a_400_with_and_without_a_key(
    router: FakeRouter, hosts: list[bytes], key: str | None
) -> None:
    settings = Settings(api_key=SecretStr(key) if key else None)
    async with client_of(make_app(router, settings)) as client:
        answer = await client.get("/health/live", headers=[(b"host", host) for host in hosts])
    assert code_of(answer) == (400, "invalid_host")
    assert len(answer.content) < 400


@pytest.mark.parametrize(
    ("host", "headers"),
    [
        ("localhost:8000", {}),
        ("localhost:8000", {"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"}),
        ("LocalHost:8000", {"origin": "http://localhost:8000"}),
        ("localhost", {"origin": "http://localhost"}),
        ("localhost:80", {"origin": "http://localhost"}),
        ("box", {"origin": "https://box"}),
        ("[::1]:8000", {"origin": "http://[::1]:8000"}),
        ("localhost:8000", {"origin": "http://page.example", "sec-fetch-site": "cross-site"}),
        ("localhost:8000", {"origin": "app://notes"}),
        ("localhost:8000", {"sec-fetch-site": "none", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}),
        ("localhost:8000", {"sec-fetch-mode": "cors"}),
    ],
)
async def test_own_and_allowed_origins_are_accepted(
    client: httpx.AsyncClient, host: str, headers: dict[str, str]
) -> None:
    answer = await client.post(CHAT, json=HELLO, headers={"host": host, **headers})
    assert code_of(answer) == (200, None)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://localhost:3000"},
        {"origin": "http://127.0.0.1:8000"},
        {"origin": "http://localhost"},
        {"origin": "localhost:8000"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "*"},
        {"origin": "http://page.example:81"},
        {"origin": "https://page.example"},
        {"origin": "http://page.example.evil.example"},
        {"origin": "http://page.example, http://evil.example"},
        {"origin": "http://evil.example", "sec-fetch-site": "same-origin"},
        {"origin": "x" * 10_000},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "Cross-Site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
        LINK,
    ],
)
async def test_a_page_of_another_origin_is_a_403(
    router: FakeRouter, client: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await client.post(CHAT, json=HELLO, headers={"host": "localhost:8000", **headers})
    assert code_of(answer) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in answer.headers
    assert router.fake.generations.empty()
    assert len(answer.content) < 600


async def test_a_second_origin_does_not_hide_the_first(client: httpx.AsyncClient) -> None:
    origins = [("origin", "http://evil.example"), ("origin", "http://page.example")]
    answer = await client.get("/v1/models", headers=[("host", "localhost"), *origins])
    assert code_of(answer) == (403, "origin_not_allowed")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_link_of_another_page_may_be_followed(client: httpx.AsyncClient, method: str) -> None:
    assert (await client.request(method, "/v1/models", headers=LINK)).status_code == 200


async def test_the_bound_name_is_accepted(router: FakeRouter) -> None:
    async with client_of(make_app(router, Settings(host="Kitchen"))) as client:
        assert (await client.get("/v1/models", headers={"host": "kitchen:8000"})).status_code == 200


async def test_with_a_key_neither_host_nor_origin_is_checked(router: FakeRouter) -> None:
    headers = {"host": "any.example", "origin": "http://evil.example", "sec-fetch-site": "cross-site"}
    async with client_of(make_app(router, Settings(api_key=SecretStr("k")))) as client:
        assert (await client.get("/v1/models", headers=headers)).status_code == 401
        headers["authorization"] = "Bearer k"
        answer = await client.get("/v1/models", headers=headers)
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/json",
        "APPLICATION/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json;odata=verbose",
        "application/vnd.api+json",
        "text/json",
        "application/x-www-form-urlencoded",
    ],
)
async def test_json_and_the_default_of_curl_are_accepted(client: httpx.AsyncClient, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    assert code_of(await client.post(CHAT, content=BODY, headers=headers)) == (200, None)


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/plain;charset=UTF-8",
        "text/plain; a=application/json",
        "multipart/form-data; boundary=a",
        "application/octet-stream",
        "application/json, text/plain",
        "application/jsonx",
        "application/+json",
        "json",
        "application/json; charset=latin-1",
        'application/json; charset="utf-16"',
        "application/json;a=b;charset=utf-7",
        "application/x-www-form-urlencoded; charset=latin-1",
        "a" * 10_000,
        "application/json" + ";" * 10_000 + "charset=x",
    ],
)
async def test_another_content_type_is_a_415(router: FakeRouter, client: httpx.AsyncClient, content_type: str) -> None:
    answer = await client.post(CHAT, content=BODY, headers={"content-type": content_type})
    assert code_of(answer) == (415, "unsupported_media_type")
    assert router.fake.generations.empty()
    assert len(answer.content) < 400


@pytest.mark.parametrize("page", [{"origin": "http://page.example"}, {"sec-fetch-site": "same-origin"}])
async def test_the_default_of_curl_is_a_415_from_a_page(client: httpx.AsyncClient, page: dict[str, str]) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded", **page}
    assert code_of(await client.post(CHAT, content=BODY, headers=headers)) == (415, "unsupported_media_type")


async def test_a_form_that_is_not_json_is_a_400(client: httpx.AsyncClient) -> None:
    answer = await client.post(CHAT, data={"model": "echo"})
    assert code_of(answer) == (400, "invalid_json")


async def test_two_content_types_are_a_415(client: httpx.AsyncClient) -> None:
    types = [("content-type", "application/json"), ("content-type", "text/plain")]
    assert code_of(await client.post(CHAT, content=BODY, headers=types)) == (415, "unsupported_media_type")

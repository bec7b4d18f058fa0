"""What a request asks for and does not get is named: in a header of the response, in `explain`, and in the log."""

import logging
from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_fakes import CHAT, HELLO, FakeRouter, client_of, make_app

from localrouter.api.ignored_headers import IGNORED, MAX_LENGTH, named
from localrouter.config import Settings

HEADER = IGNORED.decode()
ANNOTATED = {**HELLO, "store": True, "mirostat": 0, "user": None}


@pytest.fixture
async def lenient_client() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(make_app(FakeRouter(), Settings(unknown_fields="ignore"))) as client:
        yield client


@pytest.mark.parametrize("stream", [False, True])
async def test_a_header_names_the_fields_without_effect(client: httpx.AsyncClient, stream: bool) -> None:
    answer = await client.post(CHAT, json={**ANNOTATED, "stream": stream})

    assert answer.status_code == 200
    assert sorted(answer.headers[HEADER].split(", ")) == ["mirostat", "store"]


async def test_a_request_without_such_fields_has_no_header(client: httpx.AsyncClient) -> None:
    assert HEADER not in (await client.post(CHAT, json=HELLO)).headers


async def test_completions_name_them_too(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/completions", json={"model": "echo", "prompt": "a", "cache_prompt": True})

    assert answer.headers[HEADER] == "cache_prompt"


async def test_explain_gives_the_reason(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{CHAT}/explain", json=ANNOTATED)

    assert {"field": "store", "why": "nothing is stored"} in answer.json()["ignored"]
    assert answer.json()["not_enforced"] == []


async def test_the_debug_log_names_them(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "localrouter.api"):
        await client.post(CHAT, json=ANNOTATED)

    assert any("mirostat" in record.getMessage() and "req_" in record.getMessage() for record in caplog.records)


async def test_an_unknown_field_is_rejected_with_the_likely_name(client: httpx.AsyncClient) -> None:
    error = (await client.post(CHAT, json={**HELLO, "temprature": 1})).json()["error"]

    assert (error["param"], error["code"]) == ("temprature", "unknown_parameter")
    assert "Did you mean 'temperature'?" in error["message"]


async def test_unknown_fields_can_be_ignored_and_are_logged_once(
    lenient_client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        answer = await lenient_client.post(CHAT, json={**HELLO, "fancy": 1})
        assert (answer.status_code, answer.headers[HEADER]) == (200, "fancy")

    assert [record.levelname for record in caplog.records if "field=fancy" in record.getMessage()] == ["WARNING"]


async def test_a_known_field_with_a_wrong_value_is_rejected_all_the_same(lenient_client: httpx.AsyncClient) -> None:
    answer = await lenient_client.post(CHAT, json={**HELLO, "temperature": "hot", "mirostat": 2})

    assert answer.status_code == 400


async def test_many_unknown_fields_make_a_short_header(lenient_client: httpx.AsyncClient) -> None:
    answer = await lenient_client.post(CHAT, json={**HELLO, **{f"field{index}": 1 for index in range(100_000)}})

    assert answer.status_code == 200
    assert len(answer.headers[HEADER]) <= MAX_LENGTH + 5
    assert answer.headers[HEADER].endswith(", ...")


@given(paths=st.lists(st.text()))
def test_a_header_has_no_character_that_ends_it_or_splits_its_list(paths: list[str]) -> None:
    for name, value in named(IGNORED, paths):
        assert name == IGNORED
        assert value.isascii()
        assert value.decode().isprintable()
        assert len(value) <= MAX_LENGTH + 5
        assert len(value.decode().split(", ")) <= len(paths)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"structured_outputs": {"regex": "(?=a)"}}, "structured_outputs.regex"),
        ({"guided_regex": "(?=a)"}, "guided_regex"),
    ],
)
async def test_an_error_names_the_field_that_the_client_sent(
    client: httpx.AsyncClient, fields: dict[str, object], param: str
) -> None:
    answer = await client.post(CHAT, json={**HELLO, **fields})

    assert answer.json()["error"]["param"] == param
    assert param in answer.json()["error"]["message"]

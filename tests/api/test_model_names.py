"""The `model` of a request in other forms, or absent, and the name in the response."""

from pathlib import Path
from typing import Any

import httpx
import pytest
from fake_engine import HereRenderer
from serving_fakes import CHAT, HELLO, FakeRouter, client_of, make_app

from localrouter.api.app import create_app
from localrouter.config import Settings
from localrouter.weights.catalog import Catalog
from localrouter.weights.manifest.manifest import Manifest

MESSAGES = {"messages": HELLO["messages"]}
ROUTES: list[tuple[str, dict[str, Any]]] = [
    (CHAT, MESSAGES),
    (f"{CHAT}/explain", MESSAGES),
    ("/v1/completions", {"prompt": "Hi"}),
    ("/tokenize", {"content": "Hi"}),
    ("/detokenize", {"tokens": [72]}),
]
FORMS = ["echo", "Echo", "echo:latest", "ECHO:Latest", "openai/echo", "ollama/ECHO:latest", "localrouter-ECHO"]


async def answers(settings: Settings, body: dict[str, Any]) -> list[httpx.Response]:
    """Send the body of each route with these fields added."""
    async with client_of(make_app(FakeRouter(), settings)) as client:
        return [await client.post(path, json={**fields, **body}) for path, fields in ROUTES]


@pytest.mark.parametrize("name", FORMS)
async def test_other_forms_of_a_name_are_served(name: str) -> None:
    for response in await answers(Settings(), {"model": name}):
        assert (response.status_code, response.json()["model"]) == (200, "localrouter-echo")


@pytest.mark.parametrize("name", FORMS)
async def test_a_model_is_found_by_other_forms_of_its_name(client: httpx.AsyncClient, name: str) -> None:
    model = (await client.get(f"/v1/models/{name}")).json()
    assert (model["id"] in {"echo", "localrouter-echo"}, model["model"]) == (True, "localrouter-echo")


@pytest.mark.parametrize("name", ["ech", "openai/ech", "a/openai/echo", "echo/", "/", "echo:late", " echo", "\u0000"])
async def test_another_name_is_a_404(client: httpx.AsyncClient, name: str) -> None:
    response = await client.post(CHAT, json={**HELLO, "model": name})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


async def test_a_close_name_is_suggested_also_behind_a_provider(client: httpx.AsyncClient) -> None:
    response = await client.post(CHAT, json={**HELLO, "model": "openai/localrouter-ecko"})
    assert response.json()["error"]["message"].endswith("Did you mean 'localrouter-echo'?")


@pytest.mark.parametrize("body", [{}, {"model": None}, {"model": ""}])
async def test_without_a_name_the_only_model_is_used(body: dict[str, Any]) -> None:
    for response in await answers(Settings(), body):
        assert (response.status_code, response.json()["model"]) == (200, "localrouter-echo")


@pytest.mark.parametrize("body", [{}, {"model": None}, {"model": ""}])
async def test_without_a_name_the_default_model_is_used(router: FakeRouter, body: dict[str, Any]) -> None:
    async with client_of(make_app(router, Settings(default_model="Far:latest"))) as client:
        for path, fields in ROUTES:
            await client.post(path, json={**fields, **body})
        await client.post(CHAT, json=HELLO)
    assert router.names == ["far"] * len(ROUTES) + ["echo"]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (
            {"a": "builtin:echo", "b": "builtin:echo?x"},
            "Missing required parameter: 'model'. Models of this server: a, b.",
        ),
        ({}, "Missing required parameter: 'model'. No model is on this machine."),
    ],
)
async def test_without_a_name_and_a_default_the_models_are_listed(extra: dict[str, str], message: str) -> None:
    catalog = Catalog(Manifest(version=1, models={}), Path.cwd(), extra)
    async with client_of(create_app(FakeRouter(), catalog, Settings(), HereRenderer())) as client:
        error = (await client.post(CHAT, json=MESSAGES)).json()["error"]
    assert (error["code"], error["param"], error["message"]) == ("missing_required_parameter", "model", message)


@pytest.mark.parametrize(
    ("asked", "shown"),
    [*((name, name) for name in FORMS), (None, "echo"), ("", "echo")],
)
async def test_the_name_asked_for_is_answered_where_that_is_set(asked: str | None, shown: str) -> None:
    for response in await answers(Settings(echo_model_name=True), {"model": asked}):
        assert (response.status_code, response.json()["model"]) == (200, shown)


async def test_the_default_model_is_answered_by_its_known_name() -> None:
    settings = Settings(echo_model_name=True, default_model="Echo:latest")
    assert {each.json()["model"] for each in await answers(settings, {})} == {"echo"}


@pytest.mark.parametrize(("path", "fields"), [(CHAT, MESSAGES), ("/v1/completions", {"prompt": "Hi"})])
async def test_every_chunk_of_a_stream_has_the_name_asked_for(path: str, fields: dict[str, Any]) -> None:
    async with client_of(make_app(FakeRouter(), Settings(echo_model_name=True))) as client:
        response = await client.post(path, json={**fields, "model": "Echo", "stream": True})
    assert response.text.count('"model":"Echo"') == response.text.count("data: {") > 1


async def test_the_log_and_the_fingerprint_keep_the_full_name(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="localrouter.access"):
        named, full = [
            (await answers(Settings(echo_model_name=on), {"model": "Echo"}))[0].json() for on in (True, False)
        ]
    assert named["system_fingerprint"] == full["system_fingerprint"]
    assert "model=localrouter-echo" in caplog.text
    assert "model=Echo" not in caplog.text

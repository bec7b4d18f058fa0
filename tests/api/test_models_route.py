"""`/v1/models` and `/health`: what can be answered for, and what it is doing."""

from dataclasses import replace

import httpx
import msgspec
import pytest
from serving_fakes import INFO, FakeRouter, client_of, make_app, ready_status

from localrouter import __version__
from localrouter.api.service import service_of
from localrouter.engine.fallbacks import Fallback
from localrouter.engine.messages import Gauge
from localrouter.router.router import EngineStatus


async def test_the_list_has_what_can_be_answered_for(client: httpx.AsyncClient) -> None:
    body = (await client.get("/v1/models")).json()
    assert body["object"] == "list"
    (model,) = body["data"]
    assert (model["id"], model["object"], model["owned_by"]) == ("echo", "model", "localrouter")
    assert (model["model"], model["status"], model["created"]) == ("localrouter-echo", "available", 0)
    assert (model["context_length"], model["max_model_len"], model["capabilities"]) == (8192, 8192, ["completion"])
    assert model["architecture"] == {"input_modalities": ["text"], "output_modalities": ["text"]}
    assert model["device"] is None


async def test_a_loaded_model_says_where_it_runs(router: FakeRouter, client: httpx.AsyncClient) -> None:
    router.statuses = [ready_status()]
    model = (await client.get("/v1/models/echo")).json()
    assert (model["status"], model["context_length"], model["device"]) == ("ready", INFO.context, "CPU")
    assert (model["max_model_len"], model["capabilities"]) == (INFO.context, ["completion"])
    assert (model["offloaded_layers"], model["layers"], model["chat_template"]) == (0, 3, "fallback chatml")


async def test_what_was_given_up_for_a_device_is_shown(router: FakeRouter, client: httpx.AsyncClient) -> None:
    given_up = Fallback("Vulkan0", "flash_attention", "off", "The worker was ended by signal 11.")
    router.statuses = [replace(ready_status(), info=msgspec.structs.replace(INFO, fallbacks=(given_up,)))]
    told = [msgspec.to_builtins(given_up)]
    assert (await client.get("/v1/models/echo")).json()["fallbacks"] == told
    assert (await client.get("/health/ready")).json()["models"][0]["fallbacks"] == told


async def test_a_model_on_its_way_is_loading(router: FakeRouter, client: httpx.AsyncClient) -> None:
    router.statuses = [EngineStatus("localrouter-echo", "loading", None, Gauge(), 1, 1)]
    assert (await client.get("/v1/models/echo")).json()["status"] == "loading"


@pytest.mark.parametrize("name", ["echo", "localrouter-echo"])
async def test_a_model_is_found_by_every_name(client: httpx.AsyncClient, name: str) -> None:
    model = (await client.get(f"/v1/models/{name}")).json()
    assert (model["id"], model["model"]) == (name, "localrouter-echo")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("nobody", "model_not_found"),
        ("nobody/of/this:name", "model_not_found"),
        ("%2e%2e%2fetc%2fpasswd", "model_not_found"),
        ("far", "model_not_downloaded"),
        ("far-Q4", "model_not_downloaded"),
    ],
)
async def test_a_model_that_cannot_answer_is_a_404(client: httpx.AsyncClient, name: str, code: str) -> None:
    answer = await client.get(f"/v1/models/{name}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, code)


@pytest.mark.parametrize("path", ["/models", "/models/echo", "/models/localrouter-echo"])
async def test_models_are_found_without_v1(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).json() == (await client.get(f"/v1{path}")).json()
    assert (await client.head(path)).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/v1/health"])
async def test_health_answers_as_llama_server_does(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/health", "/v1/health"])
async def test_health_of_a_server_that_stops_is_a_503(router: FakeRouter, path: str) -> None:
    app = make_app(router)
    service_of(app.state).accepting = False
    async with client_of(app) as client:
        answer = await client.get(path)
    assert (answer.status_code, answer.json()) == (503, {"status": "shutting_down"})
    assert answer.headers["retry-after"] == "5"


async def test_the_root_names_routes_that_exist(client: httpx.AsyncClient) -> None:
    info = (await client.get("/")).json()
    assert (info["name"], info["version"]) == ("localrouter", __version__)
    paths = [info[name] for name in ("chat_completions", "completions", "models", "health", "schema")]
    statuses = [(await client.options(path)).status_code for path in paths]
    assert statuses == [204] * len(paths)
    assert all(path.startswith(info["base_path"]) for path in paths[:3])


async def test_live(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "live"})


async def test_ready_shows_what_the_models_do(router: FakeRouter, client: httpx.AsyncClient) -> None:
    router.statuses = [ready_status()]
    answer = await client.get("/health/ready")
    (model,) = answer.json()["models"]
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    assert (model["waiting"], model["running"], model["cells_used"], model["cells"]) == (1, 2, 30, INFO.cells)
    assert (model["cells_cached"], model["cells_archived"]) == (12, 40)
    assert (model["in_flight"], model["starts"], model["state"]) == (3, 1, "ready")


async def test_a_server_that_stops_is_not_ready_and_takes_nothing(router: FakeRouter) -> None:
    app = make_app(router)
    service_of(app.state).accepting = False
    async with client_of(app) as client:
        ready = await client.get("/health/ready")
        chat = await client.post(
            "/v1/chat/completions", json={"model": "m", "messages": [{"role": "user", "content": ""}]}
        )
    assert (ready.status_code, ready.json()["status"]) == (503, "shutting_down")
    assert (chat.status_code, chat.json()["error"]["code"]) == (503, "shutting_down")

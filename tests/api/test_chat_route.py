"""`POST /v1/chat/completions`: what an answer looks like, streamed or not, and that nothing outlives it."""

import asyncio
import json
import logging
from typing import Any

import httpx
import pytest
from serving_fakes import CHAT, HELLO, FakeRouter, client_of, finished, make_app, piece

from localrouter.api.sse import DONE, EventStream
from localrouter.config import Settings
from localrouter.errors import EngineFailed, LocalrouterError, ModelLoadFailed, ModelNotFound, Overloaded, ShuttingDown

STREAM = {**HELLO, "stream": True}


def events(text: str) -> list[str]:
    assert text.endswith("\n\n")
    return [event.removeprefix("data: ") for event in text.removesuffix("\n\n").split("\n\n")]


async def test_a_plain_answer_is_openais_object(client: httpx.AsyncClient) -> None:
    answer = await client.post(CHAT, json=HELLO)
    body = answer.json()
    assert answer.status_code == 200
    assert body["object"] == "chat.completion"
    assert body["model"] == "localrouter-echo"
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "Hello", "refusal": None}
    assert body["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


async def test_a_stream_says_the_role_the_text_the_reason_and_done(client: httpx.AsyncClient) -> None:
    answer = await client.post(CHAT, json=STREAM)
    *chunks, done = events(answer.text)
    choices = [json.loads(chunk)["choices"][0] for chunk in chunks]
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-accel-buffering"] == "no"
    assert [choice["delta"] for choice in choices] == [
        {"role": "assistant", "content": ""},
        {"content": "Hel"},
        {"content": "lo"},
        {},
    ]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "stop"]
    assert done == "[DONE]"


async def test_one_look_at_the_engine_is_one_write(router: FakeRouter) -> None:
    router.fake.script = [[piece("a"), piece("b"), finished()]]
    bodies: list[bytes] = []
    await _call(router, STREAM, bodies)
    assert [body.count(b"data: ") for body in bodies] == [1, 2, 1]


async def test_the_usage_comes_last_when_asked_for(client: httpx.AsyncClient) -> None:
    answer = await client.post(CHAT, json={**STREAM, "stream_options": {"include_usage": True}})
    *others, last, _ = events(answer.text)
    assert json.loads(last)["choices"] == []
    assert json.loads(last)["usage"]["total_tokens"] == 7
    assert {json.loads(event)["usage"] for event in others} == {None}


@pytest.mark.parametrize("body", [HELLO, STREAM], ids=["plain", "stream"])
async def test_a_finished_request_holds_nothing(router: FakeRouter, client: httpx.AsyncClient, body: Any) -> None:
    await client.post(CHAT, json=body)
    assert router.fake.generations.get_nowait().cancelled.is_set()


@pytest.mark.parametrize("body", [HELLO, STREAM], ids=["plain", "stream"])
@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ModelNotFound("no such model", param="model"), 404),
        (Overloaded("the queue is full", retry_after=7), 429),
        (ModelLoadFailed("the file is damaged"), 500),
        (ShuttingDown("stopping"), 503),
        (RuntimeError("secret /home/somebody"), 500),
    ],
)
async def test_a_refusal_has_its_status_also_when_a_stream_was_asked_for(
    router: FakeRouter, client: httpx.AsyncClient, body: Any, error: Exception, status: int
) -> None:
    router.error = error
    answer = await client.post(CHAT, json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/json")
    assert "secret" not in answer.text


@pytest.mark.parametrize("error", [EngineFailed("the worker died"), RuntimeError("secret")])
async def test_a_stream_that_breaks_says_so_and_is_not_done(
    router: FakeRouter, client: httpx.AsyncClient, error: Exception
) -> None:
    router.fake.script = [[piece("Hel")]]
    asking = asyncio.create_task(client.post(CHAT, json=STREAM))
    generation = await router.fake.generations.get()
    generation.fail(error)
    *_, last = events((await asking).text)
    code = error.reason if isinstance(error, LocalrouterError) else "internal_error"
    assert json.loads(last)["error"]["type"] == "server_error"
    assert json.loads(last)["error"]["code"] == code
    assert "secret" not in last
    assert generation.cancelled.is_set()


async def test_a_plain_answer_that_breaks_is_a_500(router: FakeRouter, client: httpx.AsyncClient) -> None:
    router.fake.script = []
    asking = asyncio.create_task(client.post(CHAT, json=HELLO))
    generation = await router.fake.generations.get()
    generation.fail(EngineFailed("the worker died"))
    answer = await asking
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "engine_failed")
    assert generation.cancelled.is_set()


async def test_a_silent_stream_is_kept_alive(router: FakeRouter) -> None:
    router.fake.script = []
    pinged = asyncio.Event()

    class Bodies(list[bytes]):
        def append(self, body: bytes) -> None:
            super().append(body)
            if body == b": keep-alive\n\n":
                pinged.set()

    bodies = Bodies()
    asking = asyncio.create_task(_call(router, STREAM, bodies, Settings(sse_ping_seconds=0.01)))
    generation = await router.fake.generations.get()
    await pinged.wait()
    generation.say(finished())
    await asking
    assert bodies[-1] == b"data: [DONE]\n\n"


async def test_without_pings_a_stream_has_no_task_for_them() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    before = asyncio.all_tasks()
    async with EventStream(send, 0.0) as stream:
        assert asyncio.all_tasks() == before
        await stream.end(DONE)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


@pytest.mark.parametrize("path", ["/chat/completions", "/chat/completions/explain", "/completions"])
async def test_a_route_without_v1_answers_as_the_one_with_it(client: httpx.AsyncClient, path: str) -> None:
    body = {**HELLO, "prompt": "Hello"}
    del body["messages" if path == "/completions" else "prompt"]
    answers = [await client.post(root + path, json=body) for root in ("", "/v1")]
    first, second = [{**answer.json(), "id": "", "created": 0} for answer in answers]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert first == second


async def test_the_log_has_one_line_without_what_was_said(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "localrouter.access"):
        answer = await client.post(CHAT, json=HELLO)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "localrouter.access"]
    assert line.startswith(f"POST {CHAT} 200 model=localrouter-echo prompt_tokens=5 completion_tokens=2 ms=")
    assert answer.headers["x-request-id"] in line
    assert "Hello" not in line


async def _call(router: FakeRouter, body: object, bodies: list[bytes], settings: Settings | None = None) -> None:
    """Ask the application as an ASGI server would, and note each write."""
    app = make_app(router, settings)
    content = json.dumps(body).encode()
    received = [{"type": "http.request", "body": content, "more_body": False}]

    async def receive() -> Any:
        return received.pop() if received else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            bodies.append(message["body"])

    headers = [(b"host", b"localhost"), (b"content-length", str(len(content)).encode())]
    scope: Any = {"type": "http", "method": "POST", "path": CHAT, "headers": headers, "query_string": b""}
    await app(scope, receive, send)


async def test_sdk_history_with_a_null_refusal_is_taken(router: FakeRouter) -> None:
    async with client_of(make_app(router)) as client:
        first = (await client.post(CHAT, json=HELLO)).json()
        messages = [*HELLO["messages"], first["choices"][0]["message"], {"role": "user", "content": "More"}]
        answer = await client.post(CHAT, json={**HELLO, "messages": messages})
    assert answer.status_code == 200

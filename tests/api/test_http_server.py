"""The application behind a real server on loopback: clients that leave, odd HTTP, and how it stops."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from serving_fakes import CHAT, HELLO, FakeGeneration, FakeRouter, LoopServer, finished, make_app, piece, served

from localrouter.config import Settings

STREAM = {**HELLO, "stream": True}
SOON = 10
"""Seconds after which a test has failed instead of hanging."""


@pytest.fixture
async def server(router: FakeRouter) -> AsyncIterator[LoopServer]:
    router.fake.script = None
    settings = Settings(max_body=4096, grace=0.0)
    async with served(make_app(router, settings), settings) as server:
        yield server


class Connection:
    """A client that writes bytes and leaves when it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def ask(cls, server: LoopServer, body: object) -> "Connection":
        content = json.dumps(body).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(content)}\r\n\r\n"
        return await cls.send(server, head.encode() + content)

    @classmethod
    async def send(cls, server: LoopServer, data: bytes) -> "Connection":
        connection = cls(*await asyncio.open_connection("127.0.0.1", server.port))
        connection.writer.write(data)
        await connection.writer.drain()
        return connection

    async def status(self) -> int:
        line = await asyncio.wait_for(self.reader.readline(), SOON)
        return int(line.split()[1])

    async def until(self, text: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(text), SOON)

    async def rest(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(), SOON)

    async def leave(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


async def running(router: FakeRouter) -> FakeGeneration:
    return await asyncio.wait_for(router.fake.generations.get(), SOON)


async def test_leaving_while_the_model_loads_gives_the_wait_up(router: FakeRouter, server: LoopServer) -> None:
    router.load = asyncio.get_running_loop().create_future()
    connection = await Connection.ask(server, STREAM)
    await asyncio.wait_for(router.waiting.wait(), SOON)
    await connection.leave()
    await asyncio.wait_for(router.gave_up.wait(), SOON)


@pytest.mark.parametrize("body", [HELLO, STREAM], ids=["plain", "stream"])
async def test_leaving_the_queue_cancels(router: FakeRouter, server: LoopServer, body: object) -> None:
    connection = await Connection.ask(server, body)
    generation = await running(router)
    await connection.leave()
    await asyncio.wait_for(generation.cancelled.wait(), SOON)


async def test_leaving_a_plain_answer_cancels(router: FakeRouter, server: LoopServer) -> None:
    connection = await Connection.ask(server, HELLO)
    generation = await running(router)
    generation.let_in()
    generation.say(piece("Hel"))
    await connection.leave()
    await asyncio.wait_for(generation.cancelled.wait(), SOON)


async def test_leaving_a_stream_cancels(router: FakeRouter, server: LoopServer) -> None:
    connection = await Connection.ask(server, STREAM)
    generation = await running(router)
    generation.let_in()
    generation.say(piece("Hel"))
    await connection.until(b'"Hel"')
    await connection.leave()
    await asyncio.wait_for(generation.cancelled.wait(), SOON)


async def test_the_first_event_comes_before_the_answer_ends(router: FakeRouter, server: LoopServer) -> None:
    connection = await Connection.ask(server, STREAM)
    generation = await running(router)
    generation.let_in()
    await connection.until(b'"role":"assistant"')
    generation.say(finished())
    await connection.until(b"data: [DONE]")
    await connection.leave()


async def test_one_connection_serves_many_requests(router: FakeRouter, server: LoopServer) -> None:
    router.fake.script = [[piece("a"), finished()]]
    async with httpx.AsyncClient(base_url=server.url) as client:
        for body in (HELLO, STREAM, {}, HELLO):
            answer = await client.post(CHAT, json=body)
            assert answer.status_code == (200 if body else 400)
            assert "connection" not in answer.headers


async def test_a_chunked_body_over_the_limit_is_a_413(server: LoopServer) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * 2048

    async with httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.post(CHAT, content=body())
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    assert answer.headers["connection"] == "close"


async def test_a_body_without_end_is_not_read_to_its_end(server: LoopServer) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    connection = await Connection.send(server, head + b"1000\r\n" + b" " * 0x1000 + b"\r\n")
    for _ in range(4):
        connection.writer.write(b"1000\r\n" + b" " * 0x1000 + b"\r\n")
    assert await connection.status() == 413
    await connection.leave()


async def test_an_announced_gigabyte_is_refused_unread(server: LoopServer) -> None:
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000000\r\n\r\n".encode()
    connection = await Connection.send(server, head)
    assert await connection.status() == 413
    await connection.leave()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\n\r\n", 400),
        (f"POST {CHAT} HTTP/1.0\r\n\r\n", 400),
        (f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: x\r\n\r\n", 400),
        ("POST /nowhere HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000000\r\n\r\n", 404),
        ("GET http://elsewhere/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n", 200),
        ("HEAD /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n", 200),
        ("GET /health/live HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", 200),
        ("nonsense\r\n\r\n", 400),
    ],
)
async def test_odd_http_is_never_our_fault(server: LoopServer, head: str, status: int) -> None:
    connection = await Connection.send(server, head.encode())
    assert await connection.status() == status
    await connection.leave()


async def test_within_the_grace_a_stream_ends_by_itself(router: FakeRouter) -> None:
    router.fake.script = None
    settings = Settings(grace=SOON)
    async with served(make_app(router, settings), settings) as server:
        connection = await Connection.ask(server, STREAM)
        generation = await running(router)
        generation.let_in()
        await connection.until(b'"role":"assistant"')
        stopping = asyncio.create_task(server.stop())
        await server.closed()
        generation.say(piece("Hello"), finished())
        assert (await connection.rest()).rstrip().endswith(b"data: [DONE]\n\n\r\n0")
        await connection.leave()
        await stopping
    assert router.closed == 1


async def test_after_the_grace_a_stream_is_told(router: FakeRouter, server: LoopServer) -> None:
    connection = await Connection.ask(server, STREAM)
    generation = await running(router)
    generation.let_in()
    await connection.until(b'"role":"assistant"')
    stopping = asyncio.create_task(server.stop())
    last = await connection.rest()
    assert b'"code":"shutting_down"' in last
    assert b"[DONE]" not in last
    await connection.leave()
    await stopping
    assert generation.cancelled.is_set()
    assert router.closed == 1


async def test_a_load_that_the_shutdown_cancels_is_a_503(router: FakeRouter, server: LoopServer) -> None:
    router.load = asyncio.get_running_loop().create_future()
    connection = await Connection.ask(server, HELLO)
    await asyncio.wait_for(router.waiting.wait(), SOON)
    stopping = asyncio.create_task(server.stop())
    assert await connection.status() == 503
    await connection.leave()
    await stopping


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /health/live HTTP/1.0\r\n\r\n", 200),
        ("GET /health/live HTTP/1.0\r\nhost: localhost\r\n\r\n", 200),
        ("GET /health/live HTTP/1.0\r\norigin: http://evil.example\r\n\r\n", 403),
        ("GET /health/live HTTP/1.0\r\nhost: evil.example\r\n\r\n", 403),
        ("GET /health/live HTTP/1.1\r\n\r\n", 400),
        ("GET /health/live HTTP/1.1\r\nhost:\r\n\r\n", 400),
        ("GET /health/live HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n", 400),
        ("GET /health/live HTTP/1.1\r\nHost: localhost\r\nhost: evil.example\r\n\r\n", 400),
        ("GET /health/live HTTP/1.1\r\nhost: user@localhost\r\n\r\n", 400),
        (f"GET /health/live HTTP/1.1\r\nhost: {'a' * 10_240}\r\n\r\n", 400),
        ("GET http://localhost/health/live HTTP/1.1\r\nhost: evil.example\r\n\r\n", 403),
        ("GET /health/live HTTP/1.1\r\nhost: evil.example\r\nx-forwarded-host: localhost\r\n\r\n", 403),
        ("OPTIONS * HTTP/1.1\r\nhost: evil.example\r\n\r\n", 403),
        (
            "GET /health/live HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.example\r\n"
            "connection: upgrade\r\nupgrade: websocket\r\n\r\n",
            403,
        ),
    ],
)
async def test_host_and_origin_are_checked_as_they_were_sent(server: LoopServer, head: str, status: int) -> None:
    connection = await Connection.send(server, head.encode())
    assert await connection.status() == status
    await connection.leave()


@pytest.mark.parametrize("body", [HELLO, STREAM, {}], ids=["plain", "stream", "error"])
async def test_http_1_0_gets_no_chunks_and_the_end_of_the_connection(router: FakeRouter, body: object) -> None:
    content = json.dumps(body).encode()
    head = f"POST {CHAT} HTTP/1.0\r\nconnection: keep-alive\r\ncontent-length: {len(content)}\r\n\r\n"
    async with served(make_app(router), Settings()) as server:
        connection = await Connection.send(server, head.encode() + content)
        head_sent, _, received = (await connection.rest()).partition(b"\r\n\r\n")
        await connection.leave()
    assert b"transfer-encoding" not in head_sent.lower()
    assert b"connection: close" in head_sent
    if body is STREAM:
        assert [line for line in received.split(b"\n\n") if line and not line.startswith(b"data: ")] == []
        assert received.endswith(b"data: [DONE]\n\n")
    else:
        assert f"content-length: {len(received)}".encode() in head_sent
        assert json.loads(received)


async def test_a_stream_to_http_1_0_is_sent_as_it_is_generated(router: FakeRouter, server: LoopServer) -> None:
    content = json.dumps(STREAM).encode()
    head = f"POST {CHAT} HTTP/1.0\r\ncontent-length: {len(content)}\r\n\r\n"
    connection = await Connection.send(server, head.encode() + content)
    generation = await running(router)
    generation.let_in()
    await connection.until(b'\r\n\r\ndata: {"id"')
    generation.say(piece("Hel"))
    await connection.until(b'"Hel"')
    generation.say(finished())
    assert (await connection.rest()).endswith(b"data: [DONE]\n\n")
    await connection.leave()


async def test_http_1_1_still_gets_chunks(router: FakeRouter) -> None:
    async with served(make_app(router), Settings()) as server, httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.post(CHAT, json=STREAM)
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.text.endswith("data: [DONE]\n\n")


async def test_head_and_204_to_http_1_0_have_no_body(router: FakeRouter) -> None:
    settings = Settings(allow_origin=("http://page.example",))
    preflight = "origin: http://page.example\r\naccess-control-request-method: POST\r\n"
    async with served(make_app(router, settings), settings) as server:
        for head in ("HEAD /v1/models HTTP/1.0\r\n\r\n", f"OPTIONS {CHAT} HTTP/1.0\r\n{preflight}\r\n"):
            connection = await Connection.send(server, head.encode())
            sent, _, body = (await connection.rest()).partition(b"\r\n\r\n")
            assert (sent.split()[1] in (b"200", b"204"), body) == (True, b"")
            await connection.leave()

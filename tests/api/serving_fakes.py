"""A router, an engine and a generation that do what a test tells them; an application and a server around them."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx
from fake_engine import INFO as FAKE
from fake_engine import HereRenderer
from litestar import Litestar
from msgspec.structs import replace

from localrouter.api.app import create_app
from localrouter.api.server import GracefulServer, base_url, bind
from localrouter.api.service import Service
from localrouter.chat.engine_interface import LoadedEngine
from localrouter.config import Settings
from localrouter.engine.generation_request import GenerationRequest, Segment
from localrouter.engine.messages import Event, Finished, Gauge, Piece, Tokens, TokenUsage
from localrouter.engine.model_info import ComputeDevice
from localrouter.errors import Overloaded, ShuttingDown
from localrouter.router.router import EngineStatus
from localrouter.weights.catalog import Catalog
from localrouter.weights.manifest.manifest import Manifest

CHAT = "/v1/chat/completions"
HELLO = {"model": "echo", "messages": [{"role": "user", "content": "Hello"}]}
INFO = replace(
    FAKE,
    context=4096,
    cells=8192,
    max_sequences=8,
    vocabulary=256,
    device=ComputeDevice("CPU", 0, 3),
    eos_token="<|im_end|>",
    control_tokens=["<|im_start|>", "<|im_end|>"],
)


def piece(text: str) -> Event:
    return Piece(0, text)


def finished() -> Event:
    return Finished(0, "stop", TokenUsage(prompt_tokens=5, completion_tokens=2, cached_tokens=3))


class FakeGeneration:
    """Yields what `say` hands it. Only `let_in` makes it accepted."""

    def __init__(self) -> None:
        self.accepted_event = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.refusal: Exception | None = None
        self._looks: asyncio.Queue[list[Event] | Exception] = asyncio.Queue()

    def let_in(self) -> None:
        self.accepted_event.set()

    def refuse(self, error: Exception) -> None:
        self.refusal = error
        self.accepted_event.set()

    def say(self, *events: Event) -> None:
        self._looks.put_nowait(list(events))

    def fail(self, error: Exception) -> None:
        self._looks.put_nowait(error)

    async def accepted(self) -> int:
        await self.accepted_event.wait()
        if self.refusal is not None:
            raise self.refusal
        return 5

    async def events(self) -> AsyncGenerator[list[Event], None]:
        while True:
            look = await self._looks.get()
            if isinstance(look, Exception):
                raise look
            yield look
            if any(isinstance(event, Finished) for event in look):
                return

    def cancel(self) -> None:
        self.cancelled.set()


class FakeEngine:
    """Keeps every generation. With a `script` a generation is accepted at once and says it. Its tokens are bytes."""

    model = "localrouter-echo"
    info = INFO

    def __init__(self) -> None:
        self.script: list[list[Event]] | None = [[piece("Hel")], [piece("lo"), finished()]]
        self.generations: asyncio.Queue[FakeGeneration] = asyncio.Queue()
        self.running: list[FakeGeneration] = []
        self.room: int | None = None
        self.asked: list[GenerationRequest] = []
        self.tokenized: list[tuple[list[Segment], bool]] = []

    def submit(self, request: GenerationRequest) -> FakeGeneration:
        if self.room is not None and len(self.running) >= self.room:
            raise Overloaded("the queue is full", retry_after=7)
        self.asked.append(request)
        generation = FakeGeneration()
        if self.script is not None:
            generation.let_in()
            for look in self.script:
                generation.say(*look)
        self.running.append(generation)
        self.generations.put_nowait(generation)
        return generation

    async def tokenize(self, prompt: list[Segment], begin: bool = True) -> Tokens:
        self.tokenized.append((prompt, begin))
        tokens = [byte for segment in prompt for byte in segment.text.encode()]
        return Tokens(0, tokens, [bytes([token]) for token in tokens])

    async def detokenize(self, tokens: list[int]) -> Tokens:
        return Tokens(0, tokens, [bytes([token]) for token in tokens])


class FakeRouter:
    """Hands out one engine, or raises `error`. While `loading` is clear, models take for ever to load."""

    def __init__(self) -> None:
        self.fake = FakeEngine()
        self.error: Exception | None = None
        self.load: asyncio.Future[None] | None = None
        self.waiting = asyncio.Event()
        self.gave_up = asyncio.Event()
        self.closed = 0
        self.statuses: list[EngineStatus] = []
        self.ttls: list[int | None] = []
        self.names: list[str] = []

    @contextlib.asynccontextmanager
    async def lease(self, name: str, ttl: int | None = None) -> AsyncIterator[LoadedEngine]:
        self.ttls.append(ttl)
        self.names.append(name)
        yield await self._engine()

    async def _engine(self) -> LoadedEngine:
        self.waiting.set()
        try:
            if self.load is not None:
                await asyncio.shield(self.load)
        except asyncio.CancelledError:
            self.gave_up.set()
            raise
        if self.error is not None:
            raise self.error
        return self.fake

    def status(self) -> list[EngineStatus]:
        return self.statuses

    async def close(self) -> None:
        self.closed += 1
        if self.load is not None:
            self.load.cancel()
        for generation in self.fake.running:
            generation.fail(ShuttingDown("The server is shutting down."))


def ready_status() -> EngineStatus:
    return EngineStatus("localrouter-echo", "ready", INFO, Gauge(1, 2, 30, 12, 40), in_flight=3, starts=1)


def make_catalog() -> Catalog:
    """One model that answers, one that is not downloaded."""
    manifest = Manifest.model_validate(
        {
            "version": 1,
            "models": {
                "far": {
                    "builds": [
                        {"name": "far-Q4", "repo": "nobody/nothing-here", "file": "far.gguf", "revision": "0" * 40}
                    ]
                }
            },
        }
    )
    return Catalog(manifest, Path.cwd(), {"echo": "builtin:echo"})


def make_service(router: FakeRouter) -> Service:
    """Return what the routes of an application with default settings share."""
    return Service(router, make_catalog(), Settings(), HereRenderer())


def make_app(router: FakeRouter, settings: Settings | None = None) -> Litestar:
    return create_app(router, make_catalog(), settings or Settings(), HereRenderer())


def client_of(app: Litestar) -> httpx.AsyncClient:
    """A client that calls the application in this process, without a socket."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=cast(Any, app)), base_url="http://localhost")


@dataclass
class LoopServer:
    """A real server on a free port of loopback, in the test's own event loop."""

    server: GracefulServer
    url: str
    task: "asyncio.Task[None]"

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    async def closed(self) -> None:
        """Wait until no connection is accepted any more."""
        with contextlib.suppress(OSError):
            while True:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()

    async def stop(self) -> None:
        self.server.should_exit = True
        await self.task


@contextlib.asynccontextmanager
async def served(app: Litestar, settings: Settings) -> AsyncIterator[LoopServer]:
    """Serve `app` until the block ends."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()

    def on_ready() -> None:
        loop.call_soon_threadsafe(ready.set)

    listener = bind("127.0.0.1", 0)
    server = GracefulServer(app, settings, on_ready)
    running = LoopServer(server, base_url(listener).removesuffix("/v1"), asyncio.create_task(server.serve([listener])))
    await ready.wait()
    try:
        yield running
    finally:
        await running.stop()

"""Engines, launchers and timers for tests of the router."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fake_engine import INFO

from localrouter.config import Settings
from localrouter.engine.generation_request import GenerationRequest, Segment
from localrouter.engine.ipc.client import WorkerGeneration
from localrouter.engine.messages import Gauge, Tokens
from localrouter.engine.model_info import ModelInfo
from localrouter.errors import ModelLoadFailed
from localrouter.router.router import Router
from localrouter.weights.catalog import Catalog, ResolvedModel
from localrouter.weights.manifest.manifest import default_manifest_path, load_manifest


class FakeEngine:
    """An engine that only knows whether it is alive and busy."""

    def __init__(self, model: str, info: ModelInfo = INFO) -> None:
        self.model = model
        self.gauge = Gauge()
        self.info = info
        self.in_flight = 0
        self.is_alive = True
        self.may_end = asyncio.Event()
        self.may_end.set()

    def submit(self, request: GenerationRequest) -> WorkerGeneration:
        raise AssertionError("nothing is generated here")

    async def tokenize(self, prompt: list[Segment], begin: bool = True) -> Tokens:
        raise AssertionError("nothing is tokenized here")

    async def detokenize(self, tokens: list[int]) -> Tokens:
        raise AssertionError("nothing is tokenized here")

    async def close(self) -> None:
        self.is_alive = False
        await self.may_end.wait()


class FakeLauncher:
    """Starts FakeEngines, each once `go` is set, and remembers them."""

    def __init__(self) -> None:
        self.started: list[FakeEngine] = []
        self.go = asyncio.Event()
        self.go.set()
        self.failure: ModelLoadFailed | None = None
        self.info = INFO

    async def __call__(self, model: ResolvedModel, settings: Settings) -> FakeEngine:
        self.started.append(FakeEngine(model.model, self.info))
        engine = self.started[-1]
        await self.go.wait()
        if self.failure:
            raise self.failure
        return engine


class FakeTimers:
    """Keeps what is to be called later; the test says when the time has come."""

    def __init__(self) -> None:
        self.pending: list[FakeTimer] = []

    def call_later(self, seconds: float, callback: Callable[[], None]) -> "FakeTimer":
        self.pending.append(FakeTimer(self, seconds, callback))
        return self.pending[-1]

    @property
    def seconds(self) -> list[float]:
        return [timer.seconds for timer in self.pending]

    def fire(self) -> None:
        pending, self.pending = self.pending, []
        for timer in pending:
            timer.callback()


@dataclass
class FakeTimer:
    """One call that is to come."""

    timers: FakeTimers
    seconds: float
    callback: Callable[[], None]

    def cancel(self) -> None:
        if self in self.timers.pending:
            self.timers.pending.remove(self)


def make_router(launcher: FakeLauncher, timers: FakeTimers) -> Router:
    """Return a router with room for two models, which answers for `a`, `b` and `c`."""
    manifest = default_manifest_path()
    names = {name: f"builtin:echo?step_ms={number}" for number, name in enumerate("abc")}
    catalog = Catalog(load_manifest(manifest), Path(manifest).parent, names)
    return Router(catalog, Settings(max_loaded=2), launcher, timers.call_later)


async def asked(router: Router, name: str, ttl: int | None = None) -> None:
    """Make a request, from its beginning to its end."""
    async with router.lease(name, ttl):
        pass


def in_memory(router: Router) -> list[str]:
    return [status.model.removeprefix("localrouter-echo?step_ms=") for status in router.status()]


async def started(launcher: FakeLauncher, count: int) -> None:
    """Let the loop run until so many engines have been started."""
    while len(launcher.started) < count:  # noqa: ASYNC110 - it is the turns of the loop that are waited for
        await asyncio.sleep(0)

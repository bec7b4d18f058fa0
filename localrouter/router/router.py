"""Router from models to engines: starts an engine, leases it to requests, and unloads the one idle for longest."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from localrouter.config import Settings
from localrouter.engine.messages import Gauge
from localrouter.engine.model_info import ModelInfo
from localrouter.errors import ModelLoadFailed, Overloaded, ShuttingDown
from localrouter.gguf.turn_format import FALLBACK_ADVICE
from localrouter.router.running_engine import Launcher, RunningEngine
from localrouter.router.worker_launcher import start_worker
from localrouter.weights.catalog import Catalog, ResolvedModel
from localrouter.weights.manifest.manifest import Overrides

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineStatus:
    """Status of one model that is loaded or loading."""

    model: str
    state: Literal["loading", "ready"]
    info: ModelInfo | None
    gauge: Gauge
    in_flight: int
    """Number of requests that have not ended yet."""
    starts: int
    """Number of times that its worker was started; above 1 after crashes and reloads."""


class Timer(Protocol):
    """A scheduled call."""

    def cancel(self) -> None:
        """Cancel the call. Does nothing after it."""


CallLater = Callable[[float, Callable[[], None]], Timer]
"""Function that schedules a call after so many seconds: a running loop's `call_later`, or a fake."""


@dataclass
class _Entry:
    """State of one model file with its options: its engine, leases and time to live."""

    model: str
    loading: asyncio.Task[RunningEngine] | None = None
    client: RunningEngine | None = None
    starts: int = 0
    used: float = field(default_factory=time.monotonic)
    leases: int = 0
    """Number of requests that use the engine at the moment."""
    ttl: int | None = None
    """Seconds without a request after which the model is unloaded, by the last request that set them."""
    expiry: Timer | None = None

    @property
    def is_in_memory(self) -> bool:
        return self.loading is not None or (self.client is not None and self.client.is_alive)

    @property
    def is_idle(self) -> bool:
        return self.loading is None and self.client is not None and self.client.in_flight == self.leases == 0


class Router:
    """Engines of this server, by model. All methods belong to one event loop."""

    def __init__(
        self,
        catalog: Catalog,
        settings: Settings,
        launch: Launcher | None = None,
        call_later: CallLater | None = None,
    ) -> None:
        self._catalog = catalog
        self._settings = settings
        self._launch = launch or start_worker
        self._call_later = call_later or _call_later
        self._entries: dict[tuple[str, str, Overrides, str | None], _Entry] = {}
        self._unloading: set[asyncio.Task[None]] = set()
        self._closed = False

    @asynccontextmanager
    async def lease(self, name: str, ttl: int | None = None) -> AsyncIterator[RunningEngine]:
        """Lease the engine of a model to one request, which keeps the model loaded. Raises the errors of `engine`.

        The model is unloaded `ttl` seconds after the end of its last lease. The `ttl` of the latest request counts;
        None does not change it. It is reset when the model is unloaded.
        """
        model = self._catalog.resolve(name)
        entry = self._entry(model)
        entry.leases += 1
        entry.ttl = entry.ttl if ttl is None else ttl
        try:
            yield await self._running(entry, model)
        finally:
            entry.leases -= 1
            entry.used = time.monotonic()
            self._schedule_expiry(entry)

    async def engine(self, name: str) -> RunningEngine:
        """Return the running engine of the model that a request names; it is started if it does not run.

        Raises ModelNotFound, ModelNotDownloaded, ModelLoadFailed, ShuttingDown, or Overloaded when as many models as
        allowed are loaded and all are busy. Callers that wait for the same model share one load, which goes on when
        one of them is cancelled.
        """
        model = self._catalog.resolve(name)
        return await self._running(self._entry(model), model)

    async def _running(self, entry: _Entry, model: ResolvedModel) -> RunningEngine:
        self._refuse_when_closed()
        entry.used = time.monotonic()
        self._cancel_expiry(entry)
        if entry.client is not None and entry.client.is_alive:
            return entry.client
        if entry.loading is None:
            await self._make_room(entry)
            self._refuse_when_closed()
        if entry.loading is None:  # another caller may have started it while room was made
            entry.loading = asyncio.create_task(self._load(entry, model), name=f"load {model.model}")
        return await asyncio.shield(entry.loading)

    def status(self) -> list[EngineStatus]:
        """Return the status of each loaded or loading model, in the order of first use."""
        return [_status(entry) for entry in self._entries.values() if entry.is_in_memory]

    async def close(self) -> None:
        """Stop all engines; requests that still run end with an error."""
        self._closed = True
        for entry in self._entries.values():
            if entry.loading is not None:
                entry.loading.cancel()
                await asyncio.gather(entry.loading, return_exceptions=True)
            self._cancel_expiry(entry)
        await asyncio.gather(*(entry.client.close() for entry in self._entries.values() if entry.client))
        await asyncio.gather(*self._unloading)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise ShuttingDown("The server is shutting down.")

    def _entry(self, model: ResolvedModel) -> _Entry:
        # By file, not by name: `--model` can give the name of a build in the manifest to another file.
        return self._entries.setdefault(
            (model.backend, model.path, model.overrides, model.chat_template), _Entry(model.model)
        )

    def _schedule_expiry(self, entry: _Entry) -> None:
        """Start the time to live of a model without leases."""
        self._cancel_expiry(entry)
        if entry.ttl is not None and entry.leases == 0 and not self._closed:
            entry.expiry = self._call_later(entry.ttl, lambda: self._expire(entry))

    def _cancel_expiry(self, entry: _Entry) -> None:
        if entry.expiry is not None:
            entry.expiry.cancel()
            entry.expiry = None

    def _expire(self, entry: _Entry) -> None:
        entry.expiry = None
        if entry.client is not None and entry.loading is None:
            log.info("unloading %s after %s s without a request", entry.model, entry.ttl)
            self._unload(entry)

    def _unload(self, entry: _Entry) -> None:
        """Stop the engine of an idle model; its memory is free when the task in `_unloading` is done."""
        client, entry.client, entry.ttl = entry.client, None, None
        self._cancel_expiry(entry)
        assert client is not None
        task = asyncio.create_task(client.close(), name=f"unload {entry.model}")
        self._unloading.add(task)
        task.add_done_callback(self._unloading.discard)

    async def _load(self, entry: _Entry, model: ResolvedModel) -> RunningEngine:
        begin = time.monotonic()
        entry.starts += 1
        try:
            entry.client = await self._launch(model, self._settings)
        except ModelLoadFailed as error:
            log.error("%s: loading failed: %s", model.model, error.message)
            raise
        finally:
            entry.loading = None
        info = entry.client.info
        log.info(
            "loaded %s%s in %.1f s: %s, %d of %d layers offloaded, context %d, %d cells, %d threads",
            *(model.model, model.reason and f" ({model.reason})", time.monotonic() - begin),
            *(info.device.name, info.device.offloaded_layers, info.device.layers),
            *(info.context, info.cells, info.threads),
        )
        if model.backend == "llama" and info.chat_template is None:
            log.warning(
                "%s has no chat template: it uses %s, a format that it may not have been trained on; %s",
                *(model.model, info.template_source, FALLBACK_ADVICE),
            )
        self._schedule_expiry(entry)
        return entry.client

    async def _make_room(self, wanted: _Entry) -> None:
        """Unload idle models until one more can be loaded, and wait until their memory is free."""
        while True:
            while self._unloading:
                await asyncio.wait(self._unloading)
            others = [entry for entry in self._entries.values() if entry.is_in_memory and entry is not wanted]
            if len(others) < self._settings.max_loaded:
                return
            idle = [entry for entry in others if entry.is_idle]
            if not idle:
                raise Overloaded(
                    f"{len(others)} models are in memory, which is the limit, and all of them are busy.", retry_after=10
                )
            oldest = min(idle, key=lambda entry: entry.used)
            log.info("unloading %s to make room for %s", oldest.model, wanted.model)
            self._unload(oldest)


def _call_later(seconds: float, callback: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(seconds, callback)


def _status(entry: _Entry) -> EngineStatus:
    client = entry.client
    if client is None or not client.is_alive:
        return EngineStatus(entry.model, "loading", None, Gauge(), 0, entry.starts)
    return EngineStatus(entry.model, "ready", client.info, client.gauge, client.in_flight, entry.starts)

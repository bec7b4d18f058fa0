"""Which engine answers for which model: makes sure it runs, hands it out, and unloads what stood idle for longest."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from localrouter.config import Settings
from localrouter.engine.ipc.client import EngineClient, WorkerGeneration
from localrouter.engine.ipc.load_fallback import default_store, learn_from_crash, start_with_fallbacks
from localrouter.engine.messages import Gauge, GenerationRequest, Load, Segment, Tokens
from localrouter.engine.model_info import ModelInfo
from localrouter.errors import ModelLoadFailed, Overloaded, ShuttingDown
from localrouter.gguf.turn_format import FALLBACK_ADVICE
from localrouter.weights.catalog import Catalog, ResolvedModel
from localrouter.weights.manifest.manifest import Overrides

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineStatus:
    """One model that is in memory, or on its way there."""

    model: str
    state: Literal["loading", "ready"]
    info: ModelInfo | None
    gauge: Gauge
    in_flight: int
    """Requests that have not ended yet."""
    starts: int
    """How often its worker was started; more than one tells of crashes."""


class RunningEngine(Protocol):
    """What the router needs of an engine, and hands out; `EngineClient` is the one that ships."""

    model: str
    gauge: Gauge

    @property
    def info(self) -> ModelInfo:
        """What is known of the loaded model."""

    @property
    def in_flight(self) -> int:
        """Requests that have not ended yet."""

    @property
    def is_alive(self) -> bool:
        """Whether requests can be handed in."""

    def submit(self, request: GenerationRequest) -> WorkerGeneration:
        """Hand a request in. Raises Overloaded when the queue is full."""

    async def tokenize(self, prompt: list[Segment], begin: bool = True) -> Tokens:
        """Return the tokens of a prompt; `begin` adds the one that begins a text, where the model wants one."""

    async def detokenize(self, tokens: list[int]) -> Tokens:
        """Return what tokens of the vocabulary stand for."""

    async def close(self) -> None:
        """End it; requests that still run end with an error."""


class Launcher(Protocol):
    """Starts the engine of a model; tests start fakes."""

    async def __call__(self, model: ResolvedModel, settings: Settings) -> RunningEngine:
        """Return a loaded engine. Raises ModelLoadFailed."""


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """Let it not come. Does nothing when it has come already."""


CallLater = Callable[[float, Callable[[], None]], Timer]
"""Calls back after so many seconds; a running loop's `call_later`, or what a test fires by hand."""


@dataclass
class _Place:
    """What the router holds for one file with its settings."""

    model: str
    loading: asyncio.Task[RunningEngine] | None = None
    client: RunningEngine | None = None
    starts: int = 0
    used: float = field(default_factory=time.monotonic)
    leases: int = 0
    """Requests that it was lent to and that have not given it back."""
    ttl: int | None = None
    """Seconds without a request after which it is unloaded, as the last request said that said anything."""
    expiry: Timer | None = None

    @property
    def is_taken(self) -> bool:
        return self.loading is not None or (self.client is not None and self.client.is_alive)

    @property
    def is_idle(self) -> bool:
        return self.loading is None and self.client is not None and self.client.in_flight == self.leases == 0


class Router:
    """The engines of this server. All methods belong to one event loop."""

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
        self._places: dict[tuple[str, str, Overrides, str | None], _Place] = {}
        self._unloading: set[asyncio.Task[None]] = set()
        self._closed = False

    @asynccontextmanager
    async def lease(self, name: str, ttl: int | None = None) -> AsyncIterator[RunningEngine]:
        """Lend the engine of a model to one request, which keeps it in memory; raises what `engine` does.

        Once no request has it, and none came for `ttl` seconds, the model is unloaded. What the latest request said
        counts; None says nothing. A model that is unloaded forgets what was said.
        """
        model = self._catalog.resolve(name)
        place = self._place(model)
        place.leases += 1
        place.ttl = place.ttl if ttl is None else ttl
        try:
            yield await self._running(place, model)
        finally:
            place.leases -= 1
            place.used = time.monotonic()
            self._let_expire(place)

    async def engine(self, name: str) -> RunningEngine:
        """Return the running engine of the model that a request names, started if it is not there.

        Raises ModelNotFound, ModelNotDownloaded, ModelLoadFailed, ShuttingDown, or Overloaded when as many models as
        allowed are in memory and all are busy. Callers that wait for the same model share one load; when one of them
        gives up the load goes on.
        """
        model = self._catalog.resolve(name)
        return await self._running(self._place(model), model)

    async def _running(self, place: _Place, model: ResolvedModel) -> RunningEngine:
        self._refuse_when_closed()
        place.used = time.monotonic()
        self._keep(place)
        if place.client is not None and place.client.is_alive:
            return place.client
        if place.loading is None:
            await self._make_room(place)
            self._refuse_when_closed()
        if place.loading is None:  # another caller may have started it while room was made
            place.loading = asyncio.create_task(self._load(place, model), name=f"load {model.model}")
        return await asyncio.shield(place.loading)

    def status(self) -> list[EngineStatus]:
        """Return what is in memory, in the order of first use."""
        return [_status(place) for place in self._places.values() if place.is_taken]

    async def close(self) -> None:
        """End all engines; what still runs ends with an error."""
        self._closed = True
        for place in self._places.values():
            if place.loading is not None:
                place.loading.cancel()
                await asyncio.gather(place.loading, return_exceptions=True)
            self._keep(place)
        await asyncio.gather(*(place.client.close() for place in self._places.values() if place.client))
        await asyncio.gather(*self._unloading)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise ShuttingDown("The server is shutting down.")

    def _place(self, model: ResolvedModel) -> _Place:
        # By file, not by name: `--model` can give the name of a build in the manifest to another file.
        return self._places.setdefault(
            (model.backend, model.path, model.overrides, model.chat_template), _Place(model.model)
        )

    def _let_expire(self, place: _Place) -> None:
        """Begin to count the seconds without a request, if none has it."""
        self._keep(place)
        if place.ttl is not None and place.leases == 0 and not self._closed:
            place.expiry = self._call_later(place.ttl, lambda: self._expire(place))

    def _keep(self, place: _Place) -> None:
        if place.expiry is not None:
            place.expiry.cancel()
            place.expiry = None

    def _expire(self, place: _Place) -> None:
        place.expiry = None
        if place.client is not None and place.loading is None:
            log.info("unloading %s, which nobody has asked for in %s s", place.model, place.ttl)
            self._unload(place)

    def _unload(self, place: _Place) -> None:
        """Free the memory of an idle model; whoever waits for it waits for `_unloading`."""
        client, place.client, place.ttl = place.client, None, None
        self._keep(place)
        assert client is not None
        task = asyncio.create_task(client.close(), name=f"unload {place.model}")
        self._unloading.add(task)
        task.add_done_callback(self._unloading.discard)

    async def _load(self, place: _Place, model: ResolvedModel) -> RunningEngine:
        begin = time.monotonic()
        place.starts += 1
        try:
            place.client = await self._launch(model, self._settings)
        except ModelLoadFailed as error:
            log.error("%s could not be loaded: %s", model.model, error.message)
            raise
        finally:
            place.loading = None
        info = place.client.info
        log.info(
            "loaded %s%s in %.1f s: %s, %d of %d layers offloaded, context %d, %d cells, %d threads",
            *(model.model, model.reason and f" ({model.reason})", time.monotonic() - begin),
            *(info.device.name, info.device.offloaded_layers, info.device.layers),
            *(info.context, info.cells, info.threads),
        )
        if model.backend == "llama" and info.chat_template is None:
            log.warning(
                "%s has no chat template: it is asked with %s, a format that it may not have been trained on; %s",
                *(model.model, info.template_source, FALLBACK_ADVICE),
            )
        self._let_expire(place)
        return place.client

    async def _make_room(self, wanted: _Place) -> None:
        """Unload idle models until one more may be loaded, and wait until their memory is free."""
        while True:
            while self._unloading:
                await asyncio.wait(self._unloading)
            taken = [place for place in self._places.values() if place.is_taken and place is not wanted]
            if len(taken) < self._settings.max_loaded:
                return
            idle = [place for place in taken if place.is_idle]
            if not idle:
                raise Overloaded(
                    f"{len(taken)} models are in memory, which is the limit, and all of them are busy.", retry_after=10
                )
            oldest = min(idle, key=lambda place: place.used)
            log.info("unloading %s to make room for %s", oldest.model, wanted.model)
            self._unload(oldest)


def _call_later(seconds: float, callback: Callable[[], None]) -> Timer:
    return asyncio.get_running_loop().call_later(seconds, callback)


def _status(place: _Place) -> EngineStatus:
    client = place.client
    if client is None or not client.is_alive:
        return EngineStatus(place.model, "loading", None, Gauge(), 0, place.starts)
    return EngineStatus(place.model, "ready", client.info, client.gauge, client.in_flight, place.starts)


async def start_worker(model: ResolvedModel, settings: Settings) -> EngineClient:
    """Start a worker process for a build and return its client. Raises ModelLoadFailed."""
    options = model.overrides.replace_in(settings.load_options)
    load = Load(model.path, model.backend, options, _template(model))
    store = default_store()
    worker = await start_with_fallbacks(load, timeout=settings.load_timeout, store=store)
    return EngineClient(
        model.model,
        worker,
        max_queue=settings.max_queue,
        on_early_crash=lambda fate: learn_from_crash(load, worker.info, fate, store),
    )


def _template(model: ResolvedModel) -> str | None:
    """Return the chat template that the manifest names. Raises ModelLoadFailed where it cannot be read."""
    if model.chat_template is None:
        return None
    try:
        return Path(model.chat_template).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        log.error("the chat template of %s, %s, cannot be read: %s", model.model, model.chat_template, error)
        reason = "the file with its chat template, which the manifest names, cannot be read"
        raise ModelLoadFailed(f"{model.model} cannot be loaded: {reason}.") from error

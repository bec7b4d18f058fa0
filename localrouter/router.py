"""Which engine answers for which model: makes sure it runs, hands it out, and unloads what stood idle for longest."""

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Literal, Protocol

from localrouter.config import EngineSettings, Settings
from localrouter.engine.client import EngineClient, Generation
from localrouter.engine.messages import Gauge, Load, LoadOptions, ModelInfo, Sampling, Segment
from localrouter.engine.process import WorkerProcess
from localrouter.errors import ModelLoadFailed, Overloaded, ShuttingDown
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

    def submit(self, prompt: list[Segment], sampling: Sampling, max_tokens: int | None) -> Generation:
        """Hand a request in. Raises Overloaded when the queue is full."""

    async def close(self) -> None:
        """End it; requests that still run end with an error."""


class Launcher(Protocol):
    """Starts the engine of a model; tests start fakes."""

    async def __call__(self, model: ResolvedModel, settings: Settings) -> RunningEngine:
        """Return a loaded engine. Raises ModelLoadFailed."""


@dataclass
class _Place:
    """What the router holds for one file with its settings."""

    model: str
    loading: asyncio.Task[RunningEngine] | None = None
    client: RunningEngine | None = None
    starts: int = 0
    used: float = field(default_factory=time.monotonic)

    @property
    def is_taken(self) -> bool:
        return self.loading is not None or (self.client is not None and self.client.is_alive)

    @property
    def is_idle(self) -> bool:
        return self.loading is None and self.client is not None and self.client.in_flight == 0


class Router:
    """The engines of this server. All methods belong to one event loop."""

    def __init__(self, catalog: Catalog, settings: Settings, launch: Launcher | None = None) -> None:
        self._catalog = catalog
        self._settings = settings
        self._launch = launch or start_worker
        self._places: dict[tuple[str, str, Overrides], _Place] = {}
        self._closed = False

    async def engine(self, name: str) -> RunningEngine:
        """Return the running engine of the model that a request names, started if it is not there.

        Raises ModelNotFound, ModelNotDownloaded, ModelLoadFailed, ShuttingDown, or Overloaded when as many models as
        allowed are in memory and all are busy. Callers that wait for the same model share one load; when one of them
        gives up the load goes on.
        """
        model = self._catalog.resolve(name)
        if self._closed:
            raise ShuttingDown("The server is shutting down.")
        # By file, not by name: `--model` can give the name of a build in the manifest to another file.
        place = self._places.setdefault((model.backend, model.path, model.overrides), _Place(model.model))
        place.used = time.monotonic()
        if place.client is not None and place.client.is_alive:
            return place.client
        if place.loading is None:
            await self._make_room(place)
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
        await asyncio.gather(*(place.client.close() for place in self._places.values() if place.client))

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
        return place.client

    async def _make_room(self, wanted: _Place) -> None:
        """Unload idle models until one more may be loaded."""
        while True:
            taken = [place for place in self._places.values() if place.is_taken and place is not wanted]
            if len(taken) < self._settings.max_loaded:
                return
            idle = [place for place in taken if place.is_idle]
            if not idle:
                raise Overloaded(
                    f"{len(taken)} models are in memory, which is the limit, and all of them are busy.", retry_after=10
                )
            oldest = min(idle, key=lambda place: place.used)
            client, oldest.client = oldest.client, None
            assert client is not None
            log.info("unloading %s to make room for %s", client.model, wanted.model)
            await client.close()


def _status(place: _Place) -> EngineStatus:
    client = place.client
    if client is None or not client.is_alive:
        return EngineStatus(place.model, "loading", None, Gauge(), 0, place.starts)
    return EngineStatus(place.model, "ready", client.info, client.gauge, client.in_flight, place.starts)


async def start_worker(model: ResolvedModel, settings: Settings) -> EngineClient:
    """Start a worker process for a build and return its client. Raises ModelLoadFailed."""
    options = {name: getattr(settings, name) for name in EngineSettings.model_fields} | model.overrides.model_dump(
        exclude_none=True
    )
    load = Load(model.path, model.backend, LoadOptions(**options))
    worker = await WorkerProcess.start(load, timeout=settings.load_timeout)
    return EngineClient(model.model, worker, max_queue=settings.max_queue)

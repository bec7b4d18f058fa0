"""The objects that all routes share: router, catalog, settings, renderer, and whether requests are accepted."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from litestar.datastructures import State

from localrouter.api.model_forecast import Forecaster
from localrouter.chat.engine_interface import LeasedEngine, LoadedEngine
from localrouter.chat.prompt.chat_prompt import Renderer
from localrouter.config import Settings
from localrouter.errors import InvalidRequest, ShuttingDown
from localrouter.router.router import EngineStatus
from localrouter.weights.catalog import CatalogEntry, KnownName, ResolvedModel

MAX_FIELDS = 1000
"""Unknown fields that are remembered, so that each is logged once."""


class EngineLender(Protocol):
    """Lends the engine of a model, and knows which models are in memory."""

    def lease(self, name: str, ttl: int | None = None) -> AbstractAsyncContextManager[LoadedEngine]:
        """Lend the engine for `name` to one request, loading it if need be. Raises the errors of errors.py.

        The model may be unloaded after `ttl` seconds without a request; None leaves this time unchanged.
        """

    def status(self) -> Sequence[EngineStatus]:
        """Return the status of each model that is loaded or being loaded."""

    async def close(self) -> None:
        """Stop every worker; requests that still run end with ShuttingDown."""


class ModelCatalog(Protocol):
    """Lists the known models, and finds the files of those on disk."""

    def entries(self) -> Sequence[CatalogEntry]:
        """Return one entry per alias."""

    def find(self, name: str) -> KnownName:
        """Return the known name that a client means. Raises ModelNotFound."""

    def resolve(self, name: str) -> ResolvedModel:
        """Return the build that `name` stands for. Raises ModelNotFound and ModelNotDownloaded."""


@dataclass
class Service:
    """One server: what its routes share."""

    router: EngineLender
    catalog: ModelCatalog
    settings: Settings
    renderer: Renderer
    accepting: bool = True
    forecaster: Forecaster = field(init=False)
    _unknown_fields: set[str] = field(default_factory=set, init=False)
    _closing: asyncio.Task[None] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.forecaster = Forecaster(self.settings.load_options)

    def is_first_time(self, unknown_field: str) -> bool:
        """Return whether no request had this unknown field before. After MAX_FIELDS fields: False for any other."""
        if unknown_field in self._unknown_fields or len(self._unknown_fields) == MAX_FIELDS:
            return False
        self._unknown_fields.add(unknown_field)
        return True

    @asynccontextmanager
    async def lease(self, asked: str | None, ttl: int | None = None) -> AsyncIterator[LeasedEngine]:
        """Lend the engine for the name that a request has, as the router does; None: the request has no name.

        Raises ShuttingDown once the server is stopping, InvalidRequest where a request needs a name and has none.
        """
        if not self.accepting:
            raise ShuttingDown("The server is shutting down and takes no new requests.")
        name = asked or self.settings.default_model
        if not name:
            name = await asyncio.to_thread(self._only_served)
        known = self.catalog.find(name)
        async with AsyncExitStack() as stack:
            try:
                engine = await stack.enter_async_context(self.router.lease(known.name, ttl))
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # Not the request was cancelled but the load it waited for.
                raise ShuttingDown("The server is shutting down; the model was not loaded.") from None
            yield LeasedEngine(engine, asked or known.name, known.defaults)

    def _only_served(self) -> str:
        """Return the alias with a build on disk, if there is exactly one. Raises InvalidRequest."""
        served = [entry.alias for entry in self.catalog.entries() if entry.chosen is not None]
        if len(served) == 1:
            return served[0]
        message = "Missing required parameter: 'model'. "
        message += f"Models of this server: {', '.join(served)}." if served else "No model is on this machine."
        raise InvalidRequest(message, param="model", code="missing_required_parameter")

    async def close(self) -> None:
        """Accept no new requests and stop the workers. A second call waits for the first to end."""
        self.accepting = False
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self.router.close()
        await self.renderer.close()


def service_of(state: State) -> Service:
    """Return the service that an application's state carries."""
    service = state["service"]
    assert isinstance(service, Service)
    return service

"""`GET /health`, `/health/live` and `/health/ready`: for monitoring. They need no key."""

from typing import Literal

import msgspec
from litestar import Request, Response, route
from litestar.datastructures import State
from litestar.enums import HttpMethod

from localrouter.api.error_responses import RETRY_WHILE_STOPPING
from localrouter.api.service import service_of
from localrouter.engine.fallbacks import Fallback
from localrouter.router.router import EngineStatus

READ = [HttpMethod.GET, HttpMethod.HEAD]


class HealthResponse(msgspec.Struct, frozen=True):
    """Whether new requests are accepted, in the form of llama-server's response."""

    status: Literal["ok", "shutting_down"]


class LiveResponse(msgspec.Struct, frozen=True):
    """The process responds."""

    status: Literal["live"] = "live"


class ModelHealth(msgspec.Struct, frozen=True):
    """One model that is loaded or being loaded; some fields are null until it is loaded."""

    model: str
    state: str
    device: str | None
    offloaded_layers: int | None
    layers: int | None
    running: int
    waiting: int
    cells_used: int
    cells_cached: int
    cells_archived: int
    cells: int | None
    in_flight: int
    starts: int
    fallbacks: list[Fallback]
    """What was given up of the settings because the model failed with them on this device."""


class ReadyResponse(msgspec.Struct, frozen=True):
    """Whether new requests are accepted, and the state of the loaded models."""

    status: Literal["ready", "shutting_down"]
    models: list[ModelHealth]


@route(["/health", "/v1/health"], http_method=READ, sync_to_thread=False)
def health(request: Request[None, None, State]) -> Response[HealthResponse]:
    """Return whether new requests are accepted: 200 or 503."""
    if service_of(request.app.state).accepting:
        return Response(HealthResponse("ok"))
    return Response(HealthResponse("shutting_down"), status_code=503, headers={"retry-after": RETRY_WHILE_STOPPING})


@route("/health/live", http_method=READ, sync_to_thread=False)
def live() -> Response[LiveResponse]:
    """Return that the process responds."""
    return Response(LiveResponse())


@route("/health/ready", http_method=READ, sync_to_thread=False)
def ready(request: Request[None, None, State]) -> Response[ReadyResponse]:
    """Return whether new requests are accepted: 200 or 503."""
    service = service_of(request.app.state)
    models = [_health(status) for status in service.router.status()]
    if service.accepting:
        return Response(ReadyResponse("ready", models))
    return Response(
        ReadyResponse("shutting_down", models), status_code=503, headers={"retry-after": RETRY_WHILE_STOPPING}
    )


def _health(status: EngineStatus) -> ModelHealth:
    info, gauge = status.info, status.gauge
    return ModelHealth(
        model=status.model,
        state=status.state,
        device=info.device.name if info else None,
        offloaded_layers=info.device.offloaded_layers if info else None,
        layers=info.device.layers if info else None,
        running=gauge.running,
        waiting=gauge.waiting,
        cells_used=gauge.cells_used,
        cells_cached=gauge.cells_cached,
        cells_archived=gauge.cells_archived,
        cells=info.cells if info else None,
        in_flight=status.in_flight,
        starts=status.starts,
        fallbacks=list(info.fallbacks) if info else [],
    )

"""`GET /v1/models` and `GET /v1/models/{id}`: the models that are available right now."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec
from litestar import Request, Response, route
from litestar.datastructures import State
from litestar.enums import HttpMethod
from litestar.params import FromPath

from localrouter.api.service import ModelCatalog, Service, service_of
from localrouter.chat.model_facts import facts_of
from localrouter.engine.fallbacks import Fallback
from localrouter.engine.model_info import TemplateSource
from localrouter.errors import ModelNotDownloaded
from localrouter.router.router import EngineStatus
from localrouter.weights.catalog import ResolvedModel

READ = [HttpMethod.GET, HttpMethod.HEAD]


class ModelObject(msgspec.Struct, frozen=True):
    """OpenAI's four fields of a model and our own, some of which are null until the model is loaded."""

    id: str
    created: int
    """When the file was last written, in Unix seconds; 0 where there is none."""
    model: str
    """The full name of the model's build."""
    description: str
    license: str | None
    size: int
    """Bytes of the file."""
    status: Literal["available", "loading", "ready"] = "available"
    context_length: int | None = None
    device: str | None = None
    offloaded_layers: int | None = None
    layers: int | None = None
    fallbacks: list[Fallback] | None = None
    """What was given up of the settings because the model failed with them on this device."""
    chat_template: TemplateSource | None = None
    chat_template_sha256: str | None = None
    object: Literal["model"] = "model"
    owned_by: Literal["localrouter"] = "localrouter"


class ModelList(msgspec.Struct, frozen=True):
    """OpenAI's list."""

    data: list[ModelObject]
    object: Literal["list"] = "list"


@route("/models", http_method=READ)
async def list_models(request: Request[None, None, State]) -> Response[ModelList]:
    """Return every alias of a build on disk."""
    service = service_of(request.app.state)
    found = await asyncio.to_thread(lambda: list(_available(service.catalog)))
    loaded = _loaded(service)
    return Response(ModelList([_object(model.alias, model, created, loaded) for model, created in found]))


@route("/models/{name:path}", http_method=READ)
async def read_model(request: Request[None, None, State], name: FromPath[str]) -> Response[ModelObject]:
    """Return one model by any name that a request may use: alias, `alias:variant` or full name."""
    service = service_of(request.app.state)
    asked = name.removeprefix("/")
    model = await asyncio.to_thread(service.catalog.resolve, asked)
    return Response(_object(asked, model, _created(model), _loaded(service)))


def _available(catalog: ModelCatalog) -> Iterator[tuple[ResolvedModel, int]]:
    """Yield the models on disk: chat pages offer every model that is listed."""
    for entry in catalog.entries():
        try:
            model = catalog.resolve(entry.alias)
        except ModelNotDownloaded:
            continue
        yield model, _created(model)


def _created(model: ResolvedModel) -> int:
    try:
        return int(Path(model.path).stat().st_mtime) if model.backend == "llama" else 0
    except OSError:
        return 0


def _loaded(service: Service) -> dict[str, EngineStatus]:
    return {status.model: status for status in service.router.status()}


def _object(name: str, model: ResolvedModel, created: int, loaded: Mapping[str, EngineStatus]) -> ModelObject:
    listed = ModelObject(name, created, model.model, model.description, model.license, model.size)
    status = loaded.get(model.model)
    if status is None:
        return listed
    if status.info is None:
        return msgspec.structs.replace(listed, status=status.state)
    return msgspec.structs.replace(
        listed,
        status=status.state,
        context_length=status.info.context,
        device=status.info.device.name,
        offloaded_layers=status.info.device.offloaded_layers,
        layers=status.info.device.layers,
        fallbacks=list(status.info.fallbacks),
        chat_template=status.info.template_source,
        chat_template_sha256=facts_of(status.model, status.info).template.sha256,
    )

"""`GET /v1/models` and `GET /v1/models/{id}`: the models that are available right now."""

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import msgspec
from litestar import Request, Response, route
from litestar.datastructures import State
from litestar.params import FromPath

from localrouter.api.health_route import READ
from localrouter.api.model_forecast import Capability, Forecast, capabilities
from localrouter.api.service import Service, service_of
from localrouter.chat.model_facts import facts_of
from localrouter.engine.fallbacks import Fallback
from localrouter.engine.model_info import ModelInfo, TemplateSource
from localrouter.errors import ModelNotDownloaded
from localrouter.router.router import EngineStatus
from localrouter.weights.catalog import ResolvedModel


class Modalities(msgspec.Struct, frozen=True):
    """Kinds of input and output, in the form of OpenRouter's list of models."""

    input_modalities: tuple[Literal["text"], ...] = ("text",)
    output_modalities: tuple[Literal["text"], ...] = ("text",)


class ModelObject(msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's four fields of a model, and others, of which those after `capabilities` are null until it is loaded."""

    id: str
    created: int
    """Time of the last change of the file, in Unix seconds; 0 for a model without a file."""
    model: str
    """The full name of the model's build."""
    description: str
    license: str | None
    size: int
    """Bytes of the file."""
    status: Literal["available", "loading", "ready"] = "available"
    context_length: int | None
    """Longest prompt plus output, in tokens: in effect, or as loading the model now would set it; null: unknown."""
    max_model_len: int | None
    """The same number by vLLM's name."""
    architecture: Modalities = Modalities()
    capabilities: list[Capability]
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
    loaded = _loaded(service)
    return Response(ModelList(await asyncio.to_thread(lambda: list(_available(service, loaded)))))


@route("/models/{name:path}", http_method=READ)
async def read_model(request: Request[None, None, State], name: FromPath[str]) -> Response[ModelObject]:
    """Return one model by any name that a request may use; its `id` is the known name that was meant."""
    service = service_of(request.app.state)
    known = service.catalog.find(name.removeprefix("/")).name
    loaded = _loaded(service)
    return Response(await asyncio.to_thread(lambda: _object(known, service.catalog.resolve(known), service, loaded)))


def _available(service: Service, loaded: Mapping[str, EngineStatus]) -> Iterator[ModelObject]:
    """Yield the models on disk: chat pages offer every model that is listed."""
    for entry in service.catalog.entries():
        try:
            model = service.catalog.resolve(entry.alias)
        except ModelNotDownloaded:
            continue
        yield _object(entry.alias, model, service, loaded)


def _created(model: ResolvedModel) -> int:
    try:
        return int(Path(model.path).stat().st_mtime) if model.backend == "llama" else 0
    except OSError:
        return 0


def _loaded(service: Service) -> dict[str, EngineStatus]:
    return {status.model: status for status in service.router.status()}


def _object(name: str, model: ResolvedModel, service: Service, loaded: Mapping[str, EngineStatus]) -> ModelObject:
    """Return the facts of a model on disk. Reads its header: call it in a thread."""
    status = loaded.get(model.model)
    info = status.info if status else None
    facts = service.forecaster.forecast(model) if info is None else _forecast_of(model, info, service)
    listed = ModelObject(
        id=name,
        created=_created(model),
        model=model.model,
        description=model.description,
        license=model.license,
        size=model.size,
        status=status.state if status else "available",
        context_length=facts.context,
        max_model_len=facts.context,
        capabilities=facts.capabilities,
    )
    if info is None:
        return listed
    return msgspec.structs.replace(
        listed,
        device=info.device.name,
        offloaded_layers=info.device.offloaded_layers,
        layers=info.device.layers,
        fallbacks=list(info.fallbacks),
        chat_template=info.template_source,
        chat_template_sha256=facts_of(model.model, info).template.sha256,
    )


def _forecast_of(model: ResolvedModel, info: ModelInfo, service: Service) -> Forecast:
    """Return the true values of a loaded model in place of a forecast."""
    return Forecast(info.context, capabilities(info.chat_template, has_fim=service.forecaster.has_fim(model)))

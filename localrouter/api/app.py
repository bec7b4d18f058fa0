"""The application: its routes, exception handler, protection from web pages, and access log."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar
from litestar import Router as Routes
from litestar.datastructures import State
from litestar.types import ASGIApp

from localrouter.api.access_log import AccessLog
from localrouter.api.auth import require_key
from localrouter.api.browser_protection import BrowserProtection
from localrouter.api.chat_route import create_chat_completion
from localrouter.api.completions_route import create_completion
from localrouter.api.cors import Cors, Origins
from localrouter.api.error_responses import error_response
from localrouter.api.explain_route import explain_chat_completion
from localrouter.api.health_route import health, live, ready
from localrouter.api.infill_route import infill
from localrouter.api.models_route import list_models, read_model
from localrouter.api.responses_route import create_response, explain_response
from localrouter.api.root_route import root
from localrouter.api.schema_route import read_schema
from localrouter.api.service import EngineLender, ModelCatalog, Service, service_of
from localrouter.api.tokenize_route import count_input_tokens, detokenize, tokenize, tokenizer_info
from localrouter.chat.prompt.chat_prompt import Renderer
from localrouter.config import Settings


def create_app(router: EngineLender, catalog: ModelCatalog, settings: Settings, renderer: Renderer) -> Litestar:
    """Return the application."""
    api = [
        *(create_chat_completion, explain_chat_completion, create_completion),
        *(create_response, explain_response),
        *(list_models, read_model, tokenize, detokenize, tokenizer_info, count_input_tokens, infill),
    ]
    app = Litestar(
        [
            Routes("/v1", route_handlers=api, guards=[require_key]),
            Routes("/", route_handlers=api, guards=[require_key]),
            *(root, health, live, ready, read_schema),
        ],
        exception_handlers={Exception: error_response},
        lifespan=[_serving],
        logging_config=None,
        openapi_config=None,  # the document of api/openapi has the bodies, which Litestar does not see
        state=State({"service": Service(router, catalog, settings, renderer)}, deep_copy=False),
    )
    # Litestar's own middleware runs inside of routing and would miss requests without a route.
    app.asgi_handler = AccessLog(_for_browsers(app.asgi_handler, settings))
    return app


def _for_browsers(handler: ASGIApp, settings: Settings) -> ASGIApp:
    """Return `handler` with the protection from web pages, and with CORS for the origins that are allowed."""
    origins = Origins(settings.allow_origin)
    hosts = [settings.host, *settings.allow_host]
    protected = BrowserProtection(handler, hosts, origins, has_key=settings.api_key is not None)
    return Cors(protected, origins) if origins else protected


@asynccontextmanager
async def _serving(app: Litestar) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await service_of(app.state).close()

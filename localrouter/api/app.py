"""The application: which path leads where, and what wraps them all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar
from litestar import Router as Routes
from litestar.datastructures import State

from localrouter.api.auth import require_key
from localrouter.api.chat import create_chat_completion
from localrouter.api.completions import create_completion
from localrouter.api.errors import answer_error
from localrouter.api.explain import explain_chat_completion
from localrouter.api.health import live, ready
from localrouter.api.models import list_models, read_model
from localrouter.api.record import Recorder
from localrouter.api.service import Catalog, Router, Service, service_of
from localrouter.api.tokens import detokenize, tokenize
from localrouter.chat.prompt import Renderer
from localrouter.config import Settings


def create_app(
    router: Router, catalog: Catalog, settings: Settings, renderer: Renderer, *, keep_alive: float = 15.0
) -> Litestar:
    """Return the application. A stream that was silent for `keep_alive` seconds gets a comment."""
    of_openai = [create_chat_completion, explain_chat_completion, create_completion, list_models, read_model]
    of_llama_server = [tokenize, detokenize]
    app = Litestar(
        [
            Routes("/v1", route_handlers=[*of_openai, *of_llama_server], guards=[require_key]),
            Routes("/", route_handlers=of_llama_server, guards=[require_key]),
            Routes("/health", route_handlers=[live, ready]),
        ],
        exception_handlers={Exception: answer_error},
        lifespan=[_serving],
        logging_config=None,
        openapi_config=None,
        state=State({"service": Service(router, catalog, settings, renderer, keep_alive)}, deep_copy=False),
    )
    # Litestar's own middleware runs inside of routing and would not see what no route answers.
    app.asgi_handler = Recorder(app.asgi_handler)
    return app


@asynccontextmanager
async def _serving(app: Litestar) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await service_of(app.state).close()

"""`POST /v1/chat/completions`."""

from functools import partial

from litestar import Request, post
from litestar.datastructures import State
from litestar.types import ASGIApp

from localrouter.api.exchange import Exchange
from localrouter.api.reply import Reply
from localrouter.api.service import service_of
from localrouter.chat.engine_interface import LeasedEngine
from localrouter.chat.prompt.chat_prompt import Renderer
from localrouter.chat.response.chat_completion import Completion
from localrouter.chat.response.fold import fold
from localrouter.schema.chat_request import ChatRequest


@post("/chat/completions", status_code=200)
async def create_chat_completion(request: Request[None, None, State]) -> ASGIApp:
    """Generate a chat completion, streamed or not."""
    return Exchange(
        service_of(request.app.state), ChatRequest, partial(_respond, service_of(request.app.state).renderer)
    )


async def _respond(renderer: Renderer, engine: LeasedEngine, request: ChatRequest, reply: Reply) -> None:
    completion = await Completion.begin(engine, request, renderer, engine.defaults)
    await reply.completion(completion, fold, stream=request.stream)

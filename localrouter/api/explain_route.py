"""`POST /v1/chat/completions/explain`: the rendered prompt and effective parameters of a request."""

from functools import partial

from litestar import Request, post
from litestar.datastructures import State
from litestar.types import ASGIApp

from localrouter.api.exchange import Exchange
from localrouter.api.reply import Reply
from localrouter.api.service import service_of
from localrouter.chat.engine_interface import LeasedEngine
from localrouter.chat.prompt.chat_prompt import Renderer
from localrouter.chat.response.explanation import explain
from localrouter.schema.chat_request import ChatRequest


@post("/chat/completions/explain", status_code=200)
async def explain_chat_completion(request: Request[None, None, State]) -> ASGIApp:
    """Return the rendered prompt and the effective parameters, without generating anything."""
    return Exchange(
        service_of(request.app.state), ChatRequest, partial(_respond, service_of(request.app.state).renderer)
    )


async def _respond(renderer: Renderer, engine: LeasedEngine, request: ChatRequest, reply: Reply) -> None:
    explanation = await explain(engine, request, renderer, engine.defaults)
    reply.name(explanation.ignored, explanation.not_enforced)
    await reply.plain(explanation)

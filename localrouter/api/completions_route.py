"""`POST /v1/completions`, the older route: raw prompts, without a chat template."""

from litestar import Request, post
from litestar.datastructures import State
from litestar.types import ASGIApp

from localrouter.api.exchange import Exchange
from localrouter.api.reply import Reply
from localrouter.api.service import service_of
from localrouter.chat.engine_interface import LeasedEngine
from localrouter.chat.response.text_completion import TextCompletion, fold_text
from localrouter.schema.text_completions import CompletionRequest


@post("/completions", status_code=200)
async def create_completion(request: Request[None, None, State]) -> ASGIApp:
    """Continue one or several prompts, streamed or not."""
    return Exchange(service_of(request.app.state), CompletionRequest, _respond)


async def _respond(engine: LeasedEngine, request: CompletionRequest, reply: Reply) -> None:
    completion = await TextCompletion.begin(engine, request, engine.defaults)
    await reply.completion(completion, fold_text, stream=request.stream)

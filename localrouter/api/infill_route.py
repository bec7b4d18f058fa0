"""`POST /infill`, in the form of llama-server's: fill in the middle."""

from litestar import Request, post
from litestar.datastructures import State
from litestar.types import ASGIApp

from localrouter.api.exchange import Exchange
from localrouter.api.reply import Reply
from localrouter.api.service import service_of
from localrouter.chat.engine_interface import LeasedEngine
from localrouter.chat.response.infill import Infill, fold_infill
from localrouter.schema.infill import InfillRequest


@post("/infill", status_code=200)
async def infill(request: Request[None, None, State]) -> ASGIApp:
    """Generate the text between two texts, streamed or not."""
    return Exchange(service_of(request.app.state), InfillRequest, _respond)


async def _respond(engine: LeasedEngine, request: InfillRequest, reply: Reply) -> None:
    # llama-server ends a stream of this route with the chunk whose `stop` is true.
    await reply.completion(
        await Infill.begin(engine, request, engine.defaults), fold_infill, stream=request.stream, done=b""
    )

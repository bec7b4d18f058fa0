"""`POST /v1/responses`, and its explanation."""

from litestar import Request, post
from litestar.datastructures import State
from litestar.types import ASGIApp

from localrouter.api.dialect_exchange import explaining, generating
from localrouter.api.service import service_of
from localrouter.api.sse import StreamForm, named_event
from localrouter.dialects.responses.responses_dialect import RESPONSES

FORM = StreamForm(named_event)


@post("/responses", status_code=200)
async def create_response(request: Request[None, None, State]) -> ASGIApp:
    """Generate a response, streamed or not."""
    return generating(service_of(request.app.state), RESPONSES, FORM)


@post("/responses/explain", status_code=200)
async def explain_response(request: Request[None, None, State]) -> ASGIApp:
    """Return the chat request and the prompt that a request becomes, without generating anything."""
    return explaining(service_of(request.app.state), RESPONSES)

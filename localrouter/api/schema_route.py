"""`GET /schema` and `GET /schema/openapi.json`: the OpenAPI document of all routes. It needs no key."""

import asyncio

from litestar import Request, Response, route
from litestar.datastructures import State

from localrouter.api.health_route import READ
from localrouter.api.openapi.document import document_body
from localrouter.api.openapi.operations import OPENAPI_JSON
from localrouter.api.service import service_of


@route(["/schema", "/schema/openapi.json"], http_method=READ)
async def read_schema(request: Request[None, None, State]) -> Response[bytes]:
    """Return the OpenAPI document, which the first request makes."""
    locked = service_of(request.app.state).settings.api_key is not None
    return Response(await asyncio.to_thread(document_body, locked=locked), media_type=OPENAPI_JSON)

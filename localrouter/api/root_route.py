"""`GET /`: the name of the server and the paths of its main routes. It needs no key and names no model."""

import msgspec
from litestar import route

from localrouter import __version__
from localrouter.api.health_route import READ


class ServerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The server and the paths of its main routes."""

    name: str = "localrouter"
    version: str = __version__
    base_path: str = "/v1"
    """What the base_url of an OpenAI client ends with."""
    chat_completions: str = "/v1/chat/completions"
    completions: str = "/v1/completions"
    models: str = "/v1/models"
    health: str = "/health"
    schema: str = "/schema"
    """Path of the OpenAPI document."""
    docs: str = "docs/api.md, in the source of localrouter"


@route("/", http_method=READ, sync_to_thread=False)
def root() -> ServerInfo:
    """Return the name of the server and the paths of its main routes."""
    return ServerInfo()

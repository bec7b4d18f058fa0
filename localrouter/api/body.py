"""Reading the body of a request, up to a limit."""

from litestar.types import HTTPScope, Receive

from localrouter.api.disconnect import ClientLeft
from localrouter.errors import BodyTooLarge

PATIENCE = 4
"""Multiple of the limit that is read and dropped, so that a client receives the error instead of a reset."""


async def read_body(scope: HTTPScope, receive: Receive, limit: int) -> bytes:
    """Return the body. Raises BodyTooLarge past `limit` bytes, ClientLeft when the client leaves before its end."""
    too_large = BodyTooLarge(f"The body is larger than the limit of {limit} bytes.")
    if _announced(scope) > PATIENCE * limit:
        raise too_large
    parts, size, more = [], 0, True
    while more and size <= PATIENCE * limit:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientLeft
        size += len(message["body"])
        if size <= limit:
            parts.append(message["body"])
        more = message["more_body"]
    if size > limit:
        raise too_large
    return b"".join(parts)


def _announced(scope: HTTPScope) -> int:
    value = dict(scope["headers"]).get(b"content-length", b"0")
    return int(value) if value.isdigit() else 0

"""The API key, if the operator set one: `Authorization: Bearer KEY`, `x-api-key: KEY` or `api-key: KEY`."""

import hmac
from collections.abc import Iterator
from typing import Any

from litestar.connection import ASGIConnection
from litestar.datastructures import Headers, State
from litestar.handlers import BaseRouteHandler

from localrouter.api.service import service_of
from localrouter.errors import AuthenticationFailed

KEY_HEADERS = ("x-api-key", "api-key")
"""Headers with the bare key, as clients of Anthropic and Azure send it."""


def require_key(connection: ASGIConnection[Any, Any, Any, State], _handler: BaseRouteHandler) -> None:
    """Raise AuthenticationFailed unless the request carries the key. Runs before the body is read."""
    key = service_of(connection.app.state).settings.api_key
    if key is None:
        return
    # Headers were decoded as latin-1; encoded again they are the client's bytes, whatever those were.
    given = {value.encode("latin-1") for value in _given(connection.headers)}
    if not given:
        raise AuthenticationFailed("No API key was given. Send it as: Authorization: Bearer YOUR_KEY.")
    if len(given) > 1:
        raise AuthenticationFailed(
            "Different API keys were given in the headers Authorization, x-api-key and api-key. Send the key in one."
        )
    if not hmac.compare_digest(given.pop(), key.get_secret_value().encode()):
        raise AuthenticationFailed("Incorrect API key.")


def _given(headers: Headers) -> Iterator[str]:
    """Yield every key in the headers that is not empty."""
    for value in headers.getall("authorization", []):
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            yield token.strip()
    for name in KEY_HEADERS:
        yield from (value.strip() for value in headers.getall(name, []) if value.strip())

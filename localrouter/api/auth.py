"""The API key, if the operator set one."""

import hmac
from typing import Any

from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler

from localrouter.api.service import service_of
from localrouter.errors import AuthenticationFailed


def require_key(connection: ASGIConnection[Any, Any, Any, State], _handler: BaseRouteHandler) -> None:
    """Raise AuthenticationFailed unless the request carries the key. Runs before the body is read."""
    key = service_of(connection.app.state).settings.api_key
    if key is None:
        return
    # Headers were decoded as latin-1; encoded again they are the client's bytes, whatever those were.
    scheme, _, given = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not given.strip():
        raise AuthenticationFailed("No API key was given. Send it as: Authorization: Bearer YOUR_KEY.")
    if not hmac.compare_digest(given.strip().encode("latin-1"), key.get_secret_value().encode()):
        raise AuthenticationFailed("Incorrect API key.")

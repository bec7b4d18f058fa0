"""Cross-origin resource sharing (CORS): web pages of allowed origins may send requests and read the responses.

Litestar's CORSConfig runs within routing: its preflight needs a route, its errors are not error objects, it tries
origins one after the other as a regular expression, and it does not know private network access.
"""

import re
from collections.abc import Iterable
from typing import cast

from litestar.types import ASGIApp, HTTPResponseStartEvent, HTTPScope, Message, Receive, Scope, Send

from localrouter.api.ignored_headers import IGNORED, NOT_ENFORCED, Headers
from localrouter.api.request_headers import values_of

EVERY = "*"
METHODS = b"GET, HEAD, POST"
REQUEST_HEADERS = (b"authorization", b"content-type", b"x-api-key", b"api-key")
"""Request headers that a preflight always allows; it allows those asked for beside them, as `x-stainless-os`."""
EXPOSED = b", ".join([b"x-request-id", IGNORED, NOT_ENFORCED, b"retry-after", b"x-should-retry"])
"""Response headers that a page may read."""
MAX_AGE = b"600"
"""Seconds for which a browser may remember a preflight."""
MAX_ASKED = 100
"""Request headers that one preflight may ask for; the OpenAI JS client has about ten."""
_TOKEN = re.compile(rb"[a-z0-9!#$%&'*+.^_`|~-]{1,100}")


class Origins:
    """The allowed origins. `all` says whether every origin is allowed."""

    def __init__(self, origins: Iterable[str]) -> None:
        """`origins` are in lower case, without a default port, as browsers send them; or `*`."""
        self._origins = frozenset(origins)
        self.all = EVERY in self._origins

    def __contains__(self, origin: str) -> bool:
        """Return whether a page of `origin` is allowed."""
        return self.all or origin in self._origins

    def __bool__(self) -> bool:
        """Return whether any origin is allowed."""
        return bool(self._origins)


class Cors:
    """Wraps an application: answers preflights of allowed origins, and adds the headers of CORS to every response."""

    def __init__(self, app: ASGIApp, origins: Origins) -> None:
        self.app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = cast(HTTPScope, scope)
        headers = self._headers(request)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        if _is_preflight(request) and self._allowed(request) is not None:
            start: HTTPResponseStartEvent = {
                "type": "http.response.start",
                "status": 204,
                "headers": _preflight_headers(request),
            }
            await send_with_headers(start)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            await self.app(scope, receive, send_with_headers)

    def _allowed(self, scope: HTTPScope) -> bytes | None:
        """Return the origin of the request if it is allowed, else None."""
        given = values_of(scope, b"origin")
        return given[0] if len(given) == 1 and given[0].decode("latin-1") in self._origins else None

    def _headers(self, scope: HTTPScope) -> Headers:
        allowed = self._allowed(scope)
        headers: Headers = [] if self._origins.all else [(b"vary", b"Origin")]
        if allowed is not None:
            headers.append((b"access-control-allow-origin", EVERY.encode() if self._origins.all else allowed))
            headers.append((b"access-control-expose-headers", EXPOSED))
        return headers


def _is_preflight(scope: HTTPScope) -> bool:
    return scope["method"] == "OPTIONS" and bool(values_of(scope, b"access-control-request-method"))


def _preflight_headers(scope: HTTPScope) -> Headers:
    """Return the headers of the response to a preflight: whatever request headers it asks for are allowed."""
    asked = b",".join(values_of(scope, b"access-control-request-headers")).lower().split(b",")
    names = [name for name in map(bytes.strip, asked[:MAX_ASKED]) if _TOKEN.fullmatch(name)]
    headers = [
        (b"access-control-allow-methods", METHODS),
        (b"access-control-allow-headers", b", ".join(dict.fromkeys([*REQUEST_HEADERS, *names]))),
        (b"access-control-max-age", MAX_AGE),
    ]
    if values_of(scope, b"access-control-request-private-network") == [b"true"]:
        headers.append((b"access-control-allow-private-network", b"true"))
    return headers

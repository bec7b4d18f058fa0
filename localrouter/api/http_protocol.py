"""The HTTP protocol of uvicorn, with responses to HTTP/1.0 that end with the connection instead of chunks.

uvicorn's protocol on httptools sends `Transfer-Encoding: chunked` to HTTP/1.0 clients as well, which cannot read it.
Its protocol on h11, used where httptools is not installed, does not.
"""

from asyncio import Protocol
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle


def http_protocol() -> type[Protocol] | str:
    """Return the protocol for `uvicorn.Config(http=...)`."""
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle  # noqa: PLC0415 - not on every machine
    except ImportError:
        return "h11"

    class UnchunkedForHttp10(HttpToolsProtocol):
        def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
            ends_with_connection = cycle.scope["http_version"] == "1.0"
            super()._start_asgi_task(cycle, _until_close(app, cycle) if ends_with_connection else app)

    return UnchunkedForHttp10


def _until_close(app: "ASGI3Application", cycle: "RequestResponseCycle") -> "ASGI3Application":
    """Return `app` for one response without chunks, which ends when `cycle` closes the connection."""

    async def unchunked(scope: "Scope", receive: "ASGIReceiveCallable", send: "ASGISendCallable") -> None:
        is_measured = False

        async def send_unchunked(message: "ASGISendEvent") -> None:
            nonlocal is_measured
            if message["type"] == "http.response.start":
                is_measured = any(name == b"content-length" for name, _ in message["headers"])
                cycle.chunked_encoding = None if is_measured else False
            elif message["type"] == "http.response.body" and not is_measured:
                cycle.expected_content_length = len(message["body"])
            await send(message)

        await app(scope, receive, send_unchunked)

    return unchunked

"""Server-sent events: one write per look at the engine, a comment while there is nothing to say, one end."""

import asyncio
import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import msgspec
from litestar.types import Send

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
ENCODER = msgspec.json.Encoder()


def event(content: object) -> bytes:
    """Return `content` as one event. JSON has no line breaks of its own."""
    return b"data: " + ENCODER.encode(content) + b"\n\n"


class EventStream:
    """A response that is under way. Enter it to send the headers; `end` it exactly once."""

    def __init__(self, send: Send, ping_seconds: float, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """After `ping_seconds` without an event a comment is sent, 0: never; `headers` beside those of every stream."""
        self._send = send
        self._ping_seconds = ping_seconds
        self._headers = [*HEADERS, *headers]
        self._last_write = 0.0
        self._pinging: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._send({"type": "http.response.start", "status": 200, "headers": self._headers})
        self._last_write = asyncio.get_running_loop().time()
        if self._ping_seconds:
            self._pinging = asyncio.create_task(self._ping())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_pinging()

    async def write(self, contents: Sequence[object]) -> None:
        """Send all of `contents` at once, each as an event."""
        if contents:
            self._last_write = asyncio.get_running_loop().time()
            await self._body(b"".join(map(event, contents)))

    async def end(self, last: bytes) -> None:
        """Send the last event and close the stream."""
        self._stop_pinging()
        await self._body(last, more=False)

    async def _body(self, body: bytes, *, more: bool = True) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    def _stop_pinging(self) -> None:
        if self._pinging is not None:
            self._pinging.cancel()

    async def _ping(self) -> None:
        """Proxies and clients give up on a silent connection; a prompt may take minutes."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # the writer meets the same error and says so
            while True:
                silent = loop.time() - self._last_write
                if silent >= self._ping_seconds:
                    self._last_write = loop.time()
                    await self._body(KEEP_ALIVE)
                else:
                    await asyncio.sleep(self._ping_seconds - silent)

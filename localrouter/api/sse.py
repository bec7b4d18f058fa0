"""Server-sent events: one write per look at the engine, a ping while there is nothing to say, one end."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


def named_event(content: object) -> bytes:
    """Return `content`, an object with a `type`, as one event of that name."""
    return b"event: " + str(getattr(content, "type")).encode() + b"\n" + event(content)  # noqa: B009 - any event


@dataclass(frozen=True)
class StreamForm:
    """The form in which a dialect writes its streams."""

    event: Callable[[object], bytes]
    """Writes one event."""
    done: bytes = b""
    """What ends a stream that has not failed."""
    ping: bytes = KEEP_ALIVE
    """What keeps a silent stream open."""


CHUNKS = StreamForm(event, DONE)
"""Events without a name, and a last one that is not JSON, as in OpenAI's completion routes."""


class EventStream:
    """A response that is under way. Enter it to send the headers; `end` it exactly once."""

    def __init__(
        self,
        send: Send,
        ping_seconds: float,
        headers: Sequence[tuple[bytes, bytes]] = (),
        form: StreamForm = CHUNKS,
    ) -> None:
        """After `ping_seconds` without an event a ping is sent, 0: never; `headers` beside those of every stream."""
        self._form = form
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
            await self._body(b"".join(map(self._form.event, contents)))

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
                    await self._body(self._form.ping)
                else:
                    await asyncio.sleep(self._ping_seconds - silent)

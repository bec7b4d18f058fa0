"""Reading the body of a request, decompressed, up to a limit."""

import asyncio

from litestar.types import HTTPScope, Receive

from localrouter.api.content_encoding import BodyDecoder, decoder_of
from localrouter.api.content_type import require_json
from localrouter.api.disconnect import ClientLeft
from localrouter.api.request_headers import values_of
from localrouter.errors import BodyTooLarge

PATIENCE = 4
"""Multiple of the limit that is read and dropped, so that a client receives the error instead of a reset."""


class _LimitedBody:
    """The decompressed body as far as it was received; nothing is kept once it is larger than `limit` bytes."""

    def __init__(self, limit: int, decoder: BodyDecoder | None) -> None:
        self._limit = limit
        self._decoder = decoder
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def is_too_large(self) -> bool:
        return self._size > self._limit

    async def add(self, data: bytes) -> None:
        """Decompress and keep a part. Other requests run between the pieces of a large one."""
        if self.is_too_large:
            return
        for piece in (data,) if self._decoder is None else self._decoder.feed(data):
            self._size += len(piece)
            if self._size > self._limit:
                self._parts.clear()
                return
            self._parts.append(piece)
            if self._decoder is not None:
                await asyncio.sleep(0)

    def whole(self) -> bytes:
        """Return the body. Raises InvalidRequest when compressed data is incomplete."""
        if self._decoder is not None:
            self._decoder.end()
        return b"".join(self._parts)


async def read_body(scope: HTTPScope, receive: Receive, limit: int) -> bytes:
    """Return the body, decompressed.

    Raises UnsupportedMediaType unless it is JSON in a supported encoding, BodyTooLarge past `limit` bytes after
    decompression, InvalidRequest for damaged compression, ClientLeft when the client leaves before its end.
    """
    require_json(scope)
    too_large = BodyTooLarge(f"The body is larger than the limit of {limit} bytes, counted after decompression.")
    body = _LimitedBody(limit, decoder_of(scope))
    if _announced(scope) > PATIENCE * limit:
        raise too_large
    received, more = 0, True
    while more and received <= PATIENCE * limit:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientLeft
        received += len(message["body"])
        await body.add(message["body"])
        more = message["more_body"]
    if body.is_too_large or received > PATIENCE * limit:
        raise too_large
    return body.whole()


def _announced(scope: HTTPScope) -> int:
    value = (values_of(scope, b"content-length") or [b"0"])[-1]
    return int(value) if value.isdigit() else 0

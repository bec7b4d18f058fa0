"""Decompression of request bodies: gzip, deflate and zstd, in pieces of limited size."""

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from litestar.types import HTTPScope

from localrouter.api.request_headers import values_of
from localrouter.errors import InvalidRequest, UnsupportedMediaType

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE = 256 * 1024
"""Bytes of output of one call of a decompressor; a call takes about a millisecond."""
MAX_MEMBERS = 1024
"""Members of a gzip body, frames of a zstd body. Each needs a decompressor; clients send one."""
WINDOW_LOG = 23
"""Window of zstd that is accepted, 8 MB: the limit of RFC 9659 for content encodings, which limits the memory."""


class Decompressor(Protocol):
    """Decompresses one member or frame, as those of `compression.zstd` do."""

    @property
    def eof(self) -> bool:
        """Whether the end of the member was reached."""

    @property
    def unused_data(self) -> bytes:
        """Input behind the end of the member."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return at most `max_length` bytes of output; input that is not needed yet is kept for the next call."""


class _Inflater:
    """Decompressor for the formats of zlib, which hands back unused input instead of keeping it."""

    def __init__(self, window_bits: int) -> None:
        self._inner = zlib.decompressobj(window_bits)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


def _zstd() -> Decompressor:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: WINDOW_LOG})


DECOMPRESSORS: dict[str, Callable[[], Decompressor]] = {
    "gzip": lambda: _Inflater(zlib.MAX_WBITS | 16),
    "deflate": lambda: _Inflater(zlib.MAX_WBITS),
    "zstd": _zstd,
}
_OTHER_NAMES = {"x-gzip": "gzip"}


class BodyDecoder:
    """Decodes a body that arrives in parts: `feed` each part, then `end`."""

    def __init__(self, encoding: str, begin: Callable[[], Decompressor]) -> None:
        self._encoding = encoding
        self._begin = begin
        self._member = begin()
        self._members = 1

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the output of this part in pieces of at most PIECE bytes. Raises InvalidRequest for damaged data."""
        more = bool(data)
        while more:
            if self._member.eof:
                self._next_member()
            try:
                piece = self._member.decompress(data, PIECE)
            except (zlib.error, zstd.ZstdError):
                raise self._damaged("it is not valid") from None
            data = self._member.unused_data if self._member.eof else b""
            more = bool(data) or (len(piece) == PIECE and not self._member.eof)
            yield piece

    def end(self) -> None:
        """Raise InvalidRequest when the compressed data is incomplete."""
        if not self._member.eof:
            raise self._damaged("its end is missing")

    def _next_member(self) -> None:
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise self._damaged(f"it has more than {MAX_MEMBERS} members")
        self._member = self._begin()

    def _damaged(self, reason: str) -> InvalidRequest:
        return InvalidRequest(
            f"The body cannot be decompressed as {self._encoding}: {reason}.", code="invalid_content_encoding"
        )


def decoder_of(scope: HTTPScope) -> BodyDecoder | None:
    """Return a decoder for the body of this request; None when it is not compressed.

    Raises UnsupportedMediaType for an encoding that is not supported, and for several in a row.
    """
    given = b",".join(values_of(scope, b"content-encoding")).decode("latin-1").strip().lower()
    encoding = _OTHER_NAMES.get(given, given)
    if encoding in ("", "identity"):
        return None
    if encoding not in DECOMPRESSORS:
        raise UnsupportedMediaType(
            f"The content encoding {given[:100]!r} is not supported. Supported are {', '.join(DECOMPRESSORS)}, one at "
            "a time.",
            encodings=[*DECOMPRESSORS],
            code="unsupported_content_encoding",
        )
    return BodyDecoder(encoding, DECOMPRESSORS[encoding])

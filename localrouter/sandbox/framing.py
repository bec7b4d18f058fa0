"""Messages over the pipes of a sandbox: 4 bytes of length, big-endian, then the body."""

from collections.abc import Iterator
from typing import IO

LENGTH_BYTES = 4


def framed(body: bytes) -> bytes:
    """Return a message as bytes on the pipe."""
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def frames(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the body of each message until the stream ends."""
    while len(length := stream.read(LENGTH_BYTES)) == LENGTH_BYTES:
        yield stream.read(int.from_bytes(length, "big"))

"""Wire format between the serving process and a worker: messages to frames of bytes, and back."""

from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

from localrouter.engine.messages import Command, Report

LENGTH_BYTES = 4
MAX_FRAME = 1 << 30
"""Bytes of the largest frame; a larger length means that the other side uses another protocol."""

Message = TypeVar("Message")
_encoder = msgspec.msgpack.Encoder()


class WireError(Exception):
    """Bytes that are no frame of this protocol, or a message too large for one."""


def frame(message: Command | Report) -> bytes:
    """Return the message as one frame: 4 bytes of length, big-endian, and msgpack.

    Raises WireError for a message that is too large.
    """
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME:
        raise WireError(f"a message of {len(body)} bytes is too large to be sent")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


class Unframer(Generic[Message]):
    """Cuts a stream of bytes into messages, however the bytes arrive."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[Message]) -> None:
        self._decoder = decoder
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that `data` completes. Raises WireError."""
        self._pending += data
        return list(self._complete())

    def _complete(self) -> Iterator[Message]:
        while len(self._pending) >= LENGTH_BYTES:
            length = int.from_bytes(self._pending[:LENGTH_BYTES], "big")
            if length > MAX_FRAME:
                raise WireError(f"a frame of {length} bytes")
            if len(self._pending) < LENGTH_BYTES + length:
                return
            body = bytes(self._pending[LENGTH_BYTES : LENGTH_BYTES + length])
            del self._pending[: LENGTH_BYTES + length]
            try:
                yield self._decoder.decode(body)
            except msgspec.MsgspecError as error:
                raise WireError(str(error)) from error


def commands() -> Unframer[Command]:
    """Return the decoder of a worker."""
    return Unframer(msgspec.msgpack.Decoder(Command))


def reports() -> Unframer[Report]:
    """Return the decoder of the serving process."""
    return Unframer(msgspec.msgpack.Decoder(Report))

"""How a message becomes bytes on the socket between the serving process and a worker, and back."""

from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

from localrouter.engine.messages import Command, Report

LENGTH_BYTES = 4
LARGEST = 1 << 30
"""Bytes of the largest frame that is believed; more means that the other side speaks something else."""

Message = TypeVar("Message")
_encoder = msgspec.msgpack.Encoder()


class WireError(Exception):
    """What came, or should go, is no frame of this protocol."""


def frame(message: Command | Report) -> bytes:
    """Return the message as one frame: 4 bytes of length, big-endian, and msgpack.

    Raises WireError for one that the other side would not believe, and end for.
    """
    body = _encoder.encode(message)
    if len(body) > LARGEST:
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
            if length > LARGEST:
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
    """Return what a worker reads with."""
    return Unframer(msgspec.msgpack.Decoder(Command))


def reports() -> Unframer[Report]:
    """Return what the serving process reads with."""
    return Unframer(msgspec.msgpack.Decoder(Report))

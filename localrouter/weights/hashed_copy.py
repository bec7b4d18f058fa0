"""Reading and copying large files with their sha256 at the speed of the slower of disk and hash, in flat memory."""

import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, Protocol, TypeAlias

CHUNK = 1 << 20

Report: TypeAlias = Callable[[int], object]
"""Told how many bytes more are done."""


class Digest(Protocol):
    """What hashlib makes."""

    def update(self, data: memoryview, /) -> None:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """The digest of what was taken so far."""


class CutShort(Exception):
    """The source ended before all bytes were there."""


def silent(_: int) -> None:
    """Tell nobody."""


def hashed(source: BinaryIO, size: int, report: Report = silent, digest: Digest | None = None) -> str:
    """The sha256 of the next `size` bytes, after what `digest` has taken already. Raises CutShort."""
    return copy_hashed(source, None, size, report, digest)


def copy_hashed(
    source: BinaryIO, target: BinaryIO | None, size: int, report: Report = silent, digest: Digest | None = None
) -> str:
    """Copy the next `size` bytes to `target` and return their sha256. Raises CutShort, OSError.

    A thread hashes one piece while the next is read and written; hashlib lets go of the interpreter's lock.
    """
    digest = digest or hashlib.sha256()
    buffers = memoryview(bytearray(CHUNK)), memoryview(bytearray(CHUNK))
    done: Future[None] | None = None
    with ThreadPoolExecutor(1) as hasher:
        left, turn = size, 0
        while left:
            piece = _next_piece(source, buffers[turn][: min(CHUNK, left)])
            if done is not None:
                done.result()
            done = hasher.submit(digest.update, piece)
            if target is not None:
                _write(target, piece)
            report(len(piece))
            left -= len(piece)
            turn = 1 - turn
    return digest.hexdigest()


def _write(target: BinaryIO, piece: memoryview) -> None:
    """Write all of it: a file without a buffer takes as much as a full disk has room for, and fails the next time."""
    while piece:
        piece = piece[target.write(piece) :]


def _next_piece(source: BinaryIO, room: memoryview) -> memoryview:
    count = source.readinto(room)  # type: ignore[attr-defined]  # typeshed: only on what open() returns
    if not count:
        raise CutShort
    return room[:count]

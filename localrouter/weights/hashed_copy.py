"""Reading and copying large files with their sha256 at the speed of the slower of disk and hash, in flat memory."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, Protocol, TypeAlias

CHUNK = 1 << 18
"""Bytes of a piece: small enough to stay in a core's own cache while it is read, hashed and written."""
_BEHIND = 8 << 20

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

    A thread hashes one piece while the next is read and written; hashlib lets go of the interpreter's lock. What was
    written is on its way to the disk meanwhile, so that an fsync at the end finds little to wait for.
    """
    digest = digest or hashlib.sha256()
    buffers = memoryview(bytearray(CHUNK)), memoryview(bytearray(CHUNK))
    done: Future[None] | None = None
    with ThreadPoolExecutor(1) as hasher:
        left, turn, behind = size, 0, 0
        while left:
            piece = _next_piece(source, buffers[turn][: min(CHUNK, left)])
            if done is not None:
                done.result()
            done = hasher.submit(digest.update, piece)
            if target is not None:
                _write(target, piece)
                behind += len(piece)
                if behind >= _BEHIND:
                    _start_writing_back(target)
                    behind = 0
            report(len(piece))
            left -= len(piece)
            turn = 1 - turn
    return digest.hexdigest()


def _write(target: BinaryIO, piece: memoryview) -> None:
    """Write all of it: a file without a buffer takes as much as a full disk has room for, and fails the next time."""
    while piece:
        piece = piece[target.write(piece) :]


def _start_writing_back(target: BinaryIO) -> None:
    """Let the kernel write what it holds of a file, without waiting for it.

    On Linux POSIX_FADV_DONTNEED does (fadvise64 of mm/fadvise.c), and lets go of what is written: a copied model does
    not push a loaded one out of memory. An fsync beside the copy took twice as long.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(target.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _next_piece(source: BinaryIO, room: memoryview) -> memoryview:
    count = source.readinto(room)  # type: ignore[attr-defined]  # typeshed: only on what open() returns
    if not count:
        raise CutShort
    return room[:count]

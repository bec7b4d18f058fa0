"""Hashing and copying of large files at the speed of the slower of disk and sha256, in constant memory."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, Protocol, TypeAlias

CHUNK = 1 << 18
"""Bytes of a chunk: small enough to stay in a core's own cache while it is read, hashed and written."""
_BEHIND = 8 << 20

Report: TypeAlias = Callable[[int], object]
"""Progress callback, called with the number of bytes processed since the last call."""


class Digest(Protocol):
    """Interface of hashlib's digests."""

    def update(self, data: memoryview, /) -> None:
        """Add bytes to the digest."""

    def hexdigest(self) -> str:
        """Return the digest of all bytes so far in hexadecimal."""


class CutShort(Exception):
    """The source ended before the expected number of bytes."""


def silent(_: int) -> None:
    """Progress callback that does nothing."""


def hashed(source: BinaryIO, size: int, report: Report = silent, digest: Digest | None = None) -> str:
    """Return the sha256 of the next `size` bytes of `source`, added to `digest` if given. Raises CutShort."""
    return copy_hashed(source, None, size, report, digest)


def copy_hashed(
    source: BinaryIO, target: BinaryIO | None, size: int, report: Report = silent, digest: Digest | None = None
) -> str:
    """Copy the next `size` bytes to `target` and return their sha256. Raises CutShort, OSError.

    A thread hashes one chunk while the next is read and written; hashlib releases the GIL. Written data is flushed to
    disk meanwhile, so that an fsync at the end has little to wait for.
    """
    digest = digest or hashlib.sha256()
    buffers = memoryview(bytearray(CHUNK)), memoryview(bytearray(CHUNK))
    writer = None if target is None else _FlushingWriter(target)
    done: Future[None] | None = None
    with ThreadPoolExecutor(1) as hasher:
        left, turn = size, 0
        while left:
            chunk = _next_chunk(source, buffers[turn][: min(CHUNK, left)])
            if done is not None:
                done.result()
            done = hasher.submit(digest.update, chunk)
            if writer is not None:
                writer.write(chunk)
            report(len(chunk))
            left -= len(chunk)
            turn = 1 - turn
    return digest.hexdigest()


class _FlushingWriter:
    """Writer to an unbuffered file that starts write-back of dirty pages every few megabytes."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._behind = 0

    def write(self, chunk: memoryview) -> None:
        """Write a whole chunk: on a full disk an unbuffered write may be partial, and the next one raises OSError."""
        self._behind += len(chunk)
        while chunk:
            chunk = chunk[self._target.write(chunk) :]
        if self._behind >= _BEHIND:
            self._start_writing_back()
            self._behind = 0

    def _start_writing_back(self) -> None:
        """Start write-back of dirty pages without waiting for it.

        On Linux POSIX_FADV_DONTNEED does this (fadvise64 of mm/fadvise.c), and drops written pages from the page cache:
        a copied model does not push a loaded one out of memory. An fsync during the copy took twice as long.
        """
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._target.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _next_chunk(source: BinaryIO, room: memoryview) -> memoryview:
    count = source.readinto(room)  # type: ignore[attr-defined]  # typeshed: only on what open() returns
    if not count:
        raise CutShort
    return room[:count]

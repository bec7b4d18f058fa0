"""Reader of bundles from untrusted sources: every member is compared with the index before it is used."""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from localrouter.weights.bundle.index import (
    INDEX,
    MAX_INDEX,
    SIGNATURE,
    BundleError,
    BundleMember,
    BundleRejected,
    parse_index,
)
from localrouter.weights.bundle.signature import check_signature
from localrouter.weights.hashed_copy import CutShort, Report, hashed, silent

_MAX_HEADER = 1 << 20
"""Largest extended tar header in bytes; localrouter's have some dozens, and tarfile itself sets no limit."""
_MAX_SIGNATURE = 64 << 10
_LEAST_PADDING = 2 * tarfile.BLOCKSIZE
_MOST_PADDING = _LEAST_PADDING + tarfile.RECORDSIZE
_CUT = "the bundle is truncated: it ends before"
_FETCH = "copy it again"
_READ = "check its path, its permissions and its disk"


@dataclass(frozen=True)
class PiecePlace:
    """Offset of a member's bytes in the bundle."""

    member: BundleMember
    offset: int


class Bundle:
    """An open bundle with its validated index. A context manager.

    Only the index is read at first. Raises BundleError when the file cannot be read, BundleRejected when it is invalid.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file: BinaryIO = path.open("rb", buffering=0)
        except OSError as error:
            raise BundleError(f"{path}: the bundle cannot be read: {error.strerror}", hint=_READ) from None
        try:
            self.size = path.stat().st_size
            with _wording():
                self._tar = tarfile.TarFile(fileobj=_Headers(self._file))  # type: ignore[arg-type]  # only read and seek are used
            self._pending: tarfile.TarInfo | None = None
            self.index_bytes = self._first()
            self.signature = self._second()
            self.index = parse_index(self.index_bytes)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Bundle":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._file.close()

    def signer(self, signers: Path) -> str:
        """Return the signer of the index, one of `signers`. Raises BundleRejected when none of them signed it."""
        if self.signature is None:
            raise BundleRejected("the bundle is not signed", hint="without --signers no signature is required")
        return check_signature(self.index_bytes, self.signature, signers)

    def places(self) -> Iterator[PiecePlace]:
        """Yield every member in order; its bytes may be read until the next one is requested.

        Raises BundleRejected at the first header that differs from the index.
        """
        for member in self.index.members:
            info = self._next()
            if info is None:
                raise BundleRejected(f"{_CUT} {member.name}", hint=_FETCH)
            self._compare(info, member)
            yield PiecePlace(member, info.offset_data)
        if (more := self._next()) is not None:
            raise BundleRejected(self._stranger(more))
        self._expect_end()

    def open_at(self, offset: int) -> BinaryIO:
        """Return the open file, positioned at this byte. All callers share it."""
        self._file.seek(offset)
        return self._file

    def check(self, report: Report = silent) -> None:
        """Read all members and compare their digests. `report` is called with bytes read. Raises BundleRejected."""
        for place in self.places():
            member = place.member
            try:
                found = hashed(self.open_at(place.offset), member.size, report)
            except CutShort:
                raise BundleRejected(f"{_CUT} the end of {member.name}", hint=_FETCH) from None
            require_digest(member, found)

    def _first(self) -> bytes:
        info = self._next()
        if info is None or info.name != INDEX:
            raise BundleRejected(f"not a bundle of localrouter: the first member is not {INDEX}")
        return self._small(info, MAX_INDEX)

    def _second(self) -> bytes | None:
        info = self._next()
        if info is None or info.name != SIGNATURE:
            self._pending = info
            return None
        return self._small(info, _MAX_SIGNATURE)

    def _small(self, info: tarfile.TarInfo, limit: int) -> bytes:
        if not _is_plain(info) or info.size > limit:
            raise BundleRejected(f"{info.name} is not a regular file of at most {limit} bytes")
        data = self.open_at(info.offset_data).read(info.size)
        if len(data) != info.size:
            raise BundleRejected(f"{_CUT} the end of {info.name}", hint=_FETCH)
        return data

    def _next(self) -> tarfile.TarInfo | None:
        if self._pending is not None:
            info, self._pending = self._pending, None
            return info
        with _wording():
            return self._tar.next()

    def _compare(self, info: tarfile.TarInfo, member: BundleMember) -> None:
        if info.name != member.name:
            raise BundleRejected(self._stranger(info))
        if not _is_plain(info):
            raise BundleRejected(f"{info.name!r} is not a regular file")
        if info.size != member.size:
            raise BundleRejected(f"{info.name!r} has {info.size:,} bytes, and {member.size:,} in the index")

    def _stranger(self, info: tarfile.TarInfo) -> str:
        if info.name in (INDEX, SIGNATURE, *(member.name for member in self.index.members)):
            return f"{info.name!r} appears twice, or not in the order of the index"
        return f"{info.name!r} is in the tar and not in the index"

    def _expect_end(self) -> None:
        """Raise BundleRejected unless the last member is followed by the end of a tar: empty blocks and padding."""
        rest = self.open_at(self._tar.offset).read(_MOST_PADDING + 1)
        if len(rest) < _LEAST_PADDING:
            raise BundleRejected(f"{_CUT} the end mark of the tar", hint=_FETCH)
        if any(rest) or len(rest) > _MOST_PADDING:
            raise BundleRejected("the bundle has data after its last member")


def require_digest(member: BundleMember, found: str) -> None:
    """Raise BundleRejected when the sha256 `found` of a member differs from the index."""
    if found != member.sha256:
        raise BundleRejected(
            f"{member.name} is damaged: its sha256 is {found}, and {member.sha256} in the index", hint=_FETCH
        )


@contextmanager
def _wording() -> Iterator[None]:
    """Turn tarfile's errors for invalid files into BundleRejected, and those of the disk into BundleError."""
    try:
        yield
    except (tarfile.TarError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
        raise BundleRejected(f"not a complete tar file: {error}", hint=_FETCH) from None
    except OSError as error:
        raise BundleError(f"the bundle cannot be read: {error.strerror}", hint=_READ) from None


def _is_plain(info: tarfile.TarInfo) -> bool:
    return info.type == tarfile.REGTYPE and not info.issparse() and info.size >= 0


class _Headers:
    """File object for tarfile, which only reads headers: a read over the limit is an invalid header."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.name = ""
        self.mode = "rb"
        self.tell = file.tell
        self.seek = file.seek

    def read(self, size: int) -> bytes:
        if size > _MAX_HEADER:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self._file.read(size)

"""Reading a bundle that anybody may have written: every member is held against the index before it is touched."""

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
    BundleRefused,
    parse_index,
)
from localrouter.weights.bundle.signature import check_signature
from localrouter.weights.hashed_copy import CutShort, Report, hashed, silent

_MAX_HEADER = 1 << 20
"""Bytes of an extended tar header; ours have some dozens, and tarfile would read gigabytes if one said so."""
_MAX_SIGNATURE = 64 << 10
_LEAST_PADDING = 2 * tarfile.BLOCKSIZE
_MOST_PADDING = _LEAST_PADDING + tarfile.RECORDSIZE
_CUT = "the bundle is cut: it ends before"
_FETCH = "copy it again"
_READ = "look at its name and its permissions, and at the disk it is on"


@dataclass(frozen=True)
class PiecePlace:
    """Where the bytes of a member lie in the file."""

    member: BundleMember
    offset: int


class Bundle:
    """An open bundle, its index checked in form. Raises BundleError when it cannot be read, BundleRefused when wrong.

    Nothing but the index is read before it is asked for. A context manager.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file: BinaryIO = path.open("rb", buffering=0)
        except OSError as error:
            raise BundleError(f"{path}: the bundle cannot be read: {error.strerror}", hint=_READ) from None
        try:
            self.size = path.stat().st_size
            with _wording():
                self._tar = tarfile.TarFile(fileobj=_Headers(self._file))  # type: ignore[arg-type]  # it only reads
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
        """Who of `signers` signed the index. Raises BundleRefused when nobody did."""
        if self.signature is None:
            raise BundleRefused("the bundle is not signed", hint="without --signers it is taken as it is")
        return check_signature(self.index_bytes, self.signature, signers)

    def places(self) -> Iterator[PiecePlace]:
        """Every member in order, once; the bytes may be read while it is the current one.

        Raises BundleRefused at the first header that is not the one that the index announces.
        """
        for member in self.index.members:
            info = self._next()
            if info is None:
                raise BundleRefused(f"{_CUT} {member.name}", hint=_FETCH)
            self._compare(info, member)
            yield PiecePlace(member, info.offset_data)
        if (more := self._next()) is not None:
            raise BundleRefused(self._stranger(more))
        self._expect_end()

    def open_at(self, offset: int) -> BinaryIO:
        """The file, standing at this byte. There is only one: reading elsewhere moves it."""
        self._file.seek(offset)
        return self._file

    def check(self, report: Report = silent) -> None:
        """Read everything once and compare every digest. Raises BundleRefused."""
        for place in self.places():
            member = place.member
            try:
                found = hashed(self.open_at(place.offset), member.size, report)
            except CutShort:
                raise BundleRefused(f"{_CUT} the end of {member.name}", hint=_FETCH) from None
            require_digest(member, found)

    def _first(self) -> bytes:
        info = self._next()
        if info is None or info.name != INDEX:
            raise BundleRefused(f"this is no bundle of localrouter: it does not begin with {INDEX}")
        return self._small(info, MAX_INDEX)

    def _second(self) -> bytes | None:
        info = self._next()
        if info is None or info.name != SIGNATURE:
            self._pending = info
            return None
        return self._small(info, _MAX_SIGNATURE)

    def _small(self, info: tarfile.TarInfo, limit: int) -> bytes:
        if not _is_plain(info) or info.size > limit:
            raise BundleRefused(f"{info.name} is no plain file of at most {limit} bytes")
        data = self.open_at(info.offset_data).read(info.size)
        if len(data) != info.size:
            raise BundleRefused(f"{_CUT} the end of {info.name}", hint=_FETCH)
        return data

    def _next(self) -> tarfile.TarInfo | None:
        if self._pending is not None:
            info, self._pending = self._pending, None
            return info
        with _wording():
            return self._tar.next()

    def _compare(self, info: tarfile.TarInfo, member: BundleMember) -> None:
        if info.name != member.name:
            raise BundleRefused(self._stranger(info))
        if not _is_plain(info):
            raise BundleRefused(f"{info.name!r} is no plain file")
        if info.size != member.size:
            raise BundleRefused(f"{info.name!r} has {info.size:,} bytes where the index says {member.size:,}")

    def _stranger(self, info: tarfile.TarInfo) -> str:
        if info.name in (INDEX, SIGNATURE, *(member.name for member in self.index.members)):
            return f"{info.name!r} stands there twice, or not where the index says"
        return f"{info.name!r} is in the tar and not in the index"

    def _expect_end(self) -> None:
        """After the last member come two empty blocks and nothing but the padding that tar files have."""
        rest = self.open_at(self._tar.offset).read(_MOST_PADDING + 1)
        if len(rest) < _LEAST_PADDING:
            raise BundleRefused(f"{_CUT} the end mark of the tar", hint=_FETCH)
        if any(rest) or len(rest) > _MOST_PADDING:
            raise BundleRefused("something stands behind the last member of the bundle")


def require_digest(member: BundleMember, found: str) -> None:
    """Raise BundleRefused when the bytes of a member are not those of the index."""
    if found != member.sha256:
        raise BundleRefused(
            f"{member.name} is damaged: its sha256 is {found} where the index says {member.sha256}", hint=_FETCH
        )


@contextmanager
def _wording() -> Iterator[None]:
    """Turn what tarfile says of nonsense, in its many ways, into ours."""
    try:
        yield
    except (tarfile.TarError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
        raise BundleRefused(f"this is no whole tar file: {error}", hint=_FETCH) from None
    except OSError as error:
        raise BundleError(f"the bundle cannot be read: {error.strerror}", hint=_READ) from None


def _is_plain(info: tarfile.TarInfo) -> bool:
    return info.type == tarfile.REGTYPE and not info.issparse() and info.size >= 0


class _Headers:
    """The file as tarfile sees it: for headers only, so a large read is a header that claims to be large."""

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

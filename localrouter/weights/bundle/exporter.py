"""Writer of bundles: one uncompressed tar with an index in front. Bundles are reproducible."""

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from localrouter import __version__
from localrouter.weights.bundle.index import (
    INDEX,
    SIGNATURE,
    BundledBuild,
    BundleError,
    BundleIndex,
    BundleMember,
    PieceKind,
    WheelTarget,
    render_index,
)
from localrouter.weights.bundle.signature import sign
from localrouter.weights.hashed_copy import CutShort, Report, copy_hashed, hashed, silent

_WRITE = "check the folder and its permissions, or write the bundle elsewhere"
REQUIREMENTS = "wheels/requirements.txt"


@dataclass(frozen=True)
class Ingredient:
    """Source of a member: a file on this machine, or bytes generated for the bundle."""

    member: BundleMember
    content: Path | bytes


@dataclass(frozen=True)
class BundleContents:
    """Builds and files of a bundle. `presupposed` are digests of weights that a delta bundle leaves out."""

    builds: tuple[BundledBuild, ...]
    ingredients: tuple[Ingredient, ...]
    presupposed: frozenset[str] = frozenset()
    wheels: WheelTarget | None = None

    @property
    def carried(self) -> list[Ingredient]:
        """Ingredients in the order of the tar, without presupposed files and duplicates."""
        order = list(PieceKind)
        once = {each.member.name: each for each in self.ingredients if each.member.sha256 not in self.presupposed}
        return sorted(once.values(), key=lambda each: (order.index(each.member.kind), each.member.name))

    @property
    def size(self) -> int:
        """Bytes of all members together."""
        return sum(each.member.size for each in self.carried)

    @property
    def index(self) -> BundleIndex:
        """The index of the bundle."""
        members = tuple(each.member for each in self.carried)
        return BundleIndex(localrouter=__version__, builds=self.builds, members=members, wheels=self.wheels)

    def with_wheels(self, wheels: Sequence[Path], target: WheelTarget) -> "BundleContents":
        """Return the contents with wheels for `target`, and the requirements file with their digests for pip."""
        added = [ingredient(f"wheels/{wheel.name}", PieceKind.WHEEL, wheel) for wheel in wheels]
        listed = ingredient(REQUIREMENTS, PieceKind.WHEEL, _requirements(each.member for each in added))
        return replace(self, ingredients=(*self.ingredients, *added, listed), wheels=target)

    def leaving_out(self, digests: Iterable[str]) -> "BundleContents":
        """Return the contents of a delta bundle, without weights of these digests, which the receiver has."""
        own = {file.sha256 for build in self.builds for file in build.files}
        return replace(self, presupposed=frozenset(digests) & own)


def ingredient(
    name: str, kind: PieceKind, content: Path | bytes, report: Report = silent, *, sha256: str = ""
) -> Ingredient:
    """Return an ingredient with size and digest. A given `sha256` is compared later, when the file is copied.

    `report` is called with bytes hashed. Raises BundleError when the file cannot be read.
    """
    if isinstance(content, bytes):
        digest = hashlib.sha256(content).hexdigest()
        return Ingredient(BundleMember(name=name, kind=kind, size=len(content), sha256=digest), content)
    with _reading(content) as file:
        size = os.fstat(file.fileno()).st_size
        digest = sha256 or hashed(file, size, report)
    return Ingredient(BundleMember(name=name, kind=kind, size=size, sha256=digest), content)


def write_bundle(
    out: Path, contents: BundleContents, *, key: Path | None = None, report: Report = silent
) -> BundleIndex:
    """Write a bundle atomically, signed if there is a key, and return its index.

    `report` is called with bytes written, `contents.size` in total. Raises BundleError.
    """
    index = contents.index
    front = render_index(index)
    heads = [(INDEX, front)] + ([(SIGNATURE, sign(front, key))] if key else [])
    _require_room(out, contents.size)
    with _atomic(out) as file:
        for name, data in heads:
            _write_member(file, name, len(data), io.BytesIO(data))
        for each in contents.carried:
            _write_ingredient(file, each, report)
        file.write(bytes(2 * tarfile.BLOCKSIZE))
        file.write(bytes(-file.tell() % tarfile.RECORDSIZE))
    return index


def _write_ingredient(file: BinaryIO, ingredient: Ingredient, report: Report) -> None:
    member, content = ingredient.member, ingredient.content
    if isinstance(content, bytes):
        _write_member(file, member.name, member.size, io.BytesIO(content), report)
        return
    with _reading(content) as source:
        found = _write_member(file, member.name, member.size, source, report)
        if found != member.sha256 or source.read(1):
            raise BundleError(
                f"{content}: wrong sha256: {found}, expected {member.sha256}",
                hint="`localrouter verify` checks all files; pull or copy the file again",
            )


def _write_member(file: BinaryIO, name: str, size: int, source: BinaryIO, report: Report = silent) -> str:
    """Write header, bytes and padding of a member; return its sha256. The header has no owner and no time."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, 0
    file.write(info.tobuf(tarfile.PAX_FORMAT))
    digest = copy_hashed(source, file, size, report)
    file.write(bytes(-size % tarfile.BLOCKSIZE))
    return digest


def _require_room(out: Path, size: int) -> None:
    try:
        free = shutil.disk_usage(out.absolute().parent).free
    except OSError as error:
        raise BundleError(f"{out}: the bundle cannot be written: {error.strerror}", hint=_WRITE) from None
    if size > free:
        raise BundleError(
            f"{out}: the bundle needs {size:,} bytes, and {free:,} are free there",
            hint="free some space, or write the bundle elsewhere",
        )


def _requirements(wheels: Iterable[BundleMember]) -> bytes:
    lines = []
    for wheel in wheels:
        name, number = wheel.name.removeprefix("wheels/").split("-")[:2]
        lines.append(f"{name.replace('_', '-')}=={number} --hash=sha256:{wheel.sha256}\n")
    return "".join(lines).encode()


@contextmanager
def _atomic(out: Path) -> Iterator[BinaryIO]:
    """Give a temporary file that is renamed to `out` when the block ends without an error."""
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.unfinished")
    try:
        with unfinished.open("xb", buffering=0) as file:
            yield file
            os.fsync(file.fileno())
        unfinished.replace(out)
    except OSError as error:
        raise BundleError(f"{out}: the bundle cannot be written: {error.strerror}", hint=_WRITE) from None
    finally:
        with suppress(OSError):  # the folder may be unreadable too
            unfinished.unlink()


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb", buffering=0) as file:
            yield file
    except CutShort:
        raise BundleError(f"{path}: the file was truncated while it was read") from None
    except FileNotFoundError:
        raise BundleError(f"{path}: there is no such file", hint="`localrouter verify` lists missing files") from None

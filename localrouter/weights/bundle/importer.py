"""Import of a bundle: every file is checked before it gets its final name, and an interrupted import is resumed.

Weights of the hub go into the Hugging Face cache in the library's layout; others into the user's data folder.
"""

import errno
import hashlib
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from localrouter.weights.bundle.import_target import Destination, ImportTarget, targets
from localrouter.weights.bundle.index import INDEX, BundleError, BundleIndex, BundleRejected, PieceKind
from localrouter.weights.bundle.reader import Bundle, PiecePlace, require_digest
from localrouter.weights.hashed_copy import CutShort, Report, copy_hashed, hashed, silent


class ImportOutcome(StrEnum):
    """Outcome of the import of a build."""

    PRESENT = "present"
    WRITTEN = "written"


@dataclass
class ImportResult:
    """Result of an import: outcomes by full name, the folder of manifest, lockfile and licences, and the wheels."""

    targets: Sequence[ImportTarget]
    papers: Path
    outcomes: dict[str, ImportOutcome] = field(default_factory=dict)
    wheels: list[Path] = field(default_factory=list)
    written: int = 0
    """Bytes of weights that were copied, without files that were present already."""


def import_bundle(bundle: Bundle, where: Destination, report: Report = silent) -> ImportResult:
    """Import all files of a bundle.

    `report` is called with the bytes of all members, and of files that a delta bundle presupposes. Raises BundleError,
    BundleRejected.
    """
    files = targets(bundle.index, where)
    by_digest: defaultdict[str, list[ImportTarget]] = defaultdict(list)
    for target in files:
        by_digest[target.file.sha256].append(target)
    done = ImportResult(files, where.papers / hashlib.sha256(bundle.index_bytes).hexdigest()[:12])
    for file in bundle.index.presupposed:
        _require_present(by_digest[file.sha256], done, report)
    _require_room(bundle.index, files, where)
    for place in bundle.places():
        if place.member.kind is PieceKind.WEIGHT:
            for target in by_digest[place.member.sha256]:
                _import_weight(bundle, place, target, done, report)
        else:
            _import_other(bundle, place, where, done, report)
    with _writing(done.papers):
        done.papers.mkdir(parents=True, exist_ok=True)
        (done.papers / INDEX).write_bytes(bundle.index_bytes)
    return done


def _import_other(bundle: Bundle, place: PiecePlace, where: Destination, done: ImportResult, report: Report) -> None:
    """Extract a member that is not a weight; wheels only if `where` has a folder for them."""
    if place.member.kind is not PieceKind.WHEEL:
        _extract(bundle, place, done.papers / place.member.name, report)
    elif where.wheels is not None:
        done.wheels.append(where.wheels / Path(place.member.name).name)
        _extract(bundle, place, done.wheels[-1], report)
    else:
        report(place.member.size)


def _require_present(files: Sequence[ImportTarget], done: ImportResult, report: Report) -> None:
    for target in files:
        if not target.is_whole(report):
            raise BundleError(
                f"this delta bundle needs {target.file.name} of {target.build.name}, which is not on this machine",
                hint="import the bundle that the delta was made from first, or a full bundle",
            )
        with _writing(target.path), target.alone():
            target.link()
        done.outcomes.setdefault(target.build.name, ImportOutcome.PRESENT)


def _require_room(index: BundleIndex, files: Sequence[ImportTarget], where: Destination) -> None:
    """Raise BundleError if a disk has less free space than the import will write to it."""
    needs: defaultdict[int, int] = defaultdict(int)
    some: dict[int, Path] = {}
    wanted = {target.path: target.missing for target in files}
    if where.wheels is not None:
        wanted |= {where.wheels / member.name: member.size for member in index.of(PieceKind.WHEEL)}
    for path, size in wanted.items():
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        disk = folder.stat().st_dev
        needs[disk] += size
        some[disk] = folder
    for disk, size in needs.items():
        free = shutil.disk_usage(some[disk]).free
        if size > free:
            raise BundleError(
                f"{some[disk]}: {size:,} bytes are needed and {free:,} are free there",
                hint="free some space, or set HF_HOME or XDG_DATA_HOME to another directory",
            )


def _import_weight(bundle: Bundle, place: PiecePlace, target: ImportTarget, done: ImportResult, report: Report) -> None:
    """Import one weight: skip it if present, else copy it, check it and move it into place."""
    name = target.build.name
    if isinstance(target.place, Path) and target.is_whole(report):
        done.outcomes.setdefault(
            name, ImportOutcome.PRESENT
        )  # without a lock: the folder of the shipped model may be read-only
        return
    with _writing(target.path), target.alone():
        if target.is_whole(report):
            done.outcomes.setdefault(name, ImportOutcome.PRESENT)
        else:
            if isinstance(target.place, Path) and target.path.exists():
                raise BundleError(
                    f"{target.path}: another file has this name", hint="move that file, then import again"
                )
            done.written += _fill(bundle, place, target.partial, report)
            target.keep()
            done.outcomes[name] = ImportOutcome.WRITTEN
        target.link()


def _fill(bundle: Bundle, place: PiecePlace, partial: Path, report: Report) -> int:
    """Complete a partial file, or copy it again if its bytes are wrong; return the number of bytes copied."""
    have = min(partial.stat().st_size, place.member.size) if partial.exists() else 0
    found = _resume(bundle, place, partial, have, report)
    copied = place.member.size - have
    if found != place.member.sha256 and have:
        found = _resume(bundle, place, partial, 0, report)
        copied += place.member.size
    if found != place.member.sha256:
        partial.unlink()
    require_digest(place.member, found)
    return copied


def _resume(bundle: Bundle, place: PiecePlace, partial: Path, have: int, report: Report) -> str:
    """Hash the first `have` bytes of the partial file, copy the rest, and return the digest of all."""
    digest = hashlib.sha256()
    with partial.open("r+b" if have else "wb", buffering=0) as file:
        hashed(file, have, report, digest)
        file.truncate(have)
        found = copy_hashed(bundle.open_at(place.offset + have), file, place.member.size - have, report, digest)
        os.fsync(file.fileno())
    return found


def _extract(bundle: Bundle, place: PiecePlace, path: Path, report: Report) -> None:
    """Extract a small file atomically; two processes may write it at the same time."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.unfinished")
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _fill(bundle, place, partial, report)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn errors of writing into BundleError or BundleRejected; written bytes are kept for the next import."""
    try:
        yield
    except CutShort:
        raise BundleRejected("the bundle is truncated", hint="copy it again") from None
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise BundleError(
            f"{path}: cannot be written: {error.strerror}",
            hint="free some space, then run the same command again to resume"
            if full
            else "check its permissions, or set HF_HOME or XDG_DATA_HOME to another directory",
        ) from None

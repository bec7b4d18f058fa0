"""Target of an import: where one file of a bundled build goes on this machine, and whether it is there already.

The path is built from validated fields of the index alone, never from a name in the tar.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.utils._fixes import WeakFileLock

from localrouter.weights.build_location import ASSETS
from localrouter.weights.bundle.index import BundledBuild, BundledFile, BundleIndex
from localrouter.weights.hashed_copy import CutShort, Report, hashed, silent
from localrouter.weights.hub.cached_file import PARTIAL, CachedFile, cache_directory
from localrouter.weights.manifest.pin import PinnedFile


@dataclass(frozen=True)
class Destination:
    """Folders for imported files; `papers` is for manifest, lockfile and licences. `wheels` None: no wheels."""

    cache: Path
    models: Path
    papers: Path
    wheels: Path | None = None

    @classmethod
    def here(cls, wheels: Path | None = None) -> "Destination":
        """Return the folders of this machine: the Hugging Face cache and the user's data folder."""
        given = Path(os.environ.get("XDG_DATA_HOME", ""))
        data = (given if given.is_absolute() else Path.home() / ".local" / "share") / "localrouter"
        return cls(cache_directory(), data / "models", data / "bundles", wheels)


@dataclass(frozen=True)
class ImportTarget:
    """Target of one file of a build: a place in the Hugging Face cache, or a path in the user's data folder."""

    build: BundledBuild
    file: BundledFile
    place: CachedFile | Path

    @property
    def path(self) -> Path:
        """Path that the bytes are written to."""
        return self.place if isinstance(self.place, Path) else self.place.blob

    @property
    def partial(self) -> Path:
        """Path of the partial file of an interrupted import, which the next import or download resumes."""
        return self.path.with_name(self.path.name + PARTIAL)

    @property
    def here(self) -> Path | None:
        """Path of an existing file of the right size, or None; its digest is not checked."""
        for path in (self.path,) if isinstance(self.place, Path) else (self.place.pointer, self.path):
            if path.is_file() and path.stat().st_size == self.file.size:
                return path
        return None

    @property
    def missing(self) -> int:
        """Bytes that remain to be written."""
        if self.here:
            return 0
        return self.file.size - (self.partial.stat().st_size if self.partial.is_file() else 0)

    def is_whole(self, report: Report = silent) -> bool:
        """Whether the file exists with the right digest. `report` is called with bytes read."""
        if (path := self.here) is None:
            return False
        try:
            with path.open("rb", buffering=0) as file:
                return hashed(file, self.file.size, report) == self.file.sha256
        except (OSError, CutShort):
            return False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Create the folders, and hold the lock that every writer of this file takes. Raises OSError.

        Lock files are kept, in a hidden folder: if one were deleted while another process waits for it, that process
        would lock the deleted file, and a third one a new file.
        """
        lock = self.path.parent / ".locks" / f"{self.path.name}.lock"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(self.place, CachedFile):
            self.place.prepare()
            lock = self.place.lock
        lock.parent.mkdir(exist_ok=True)
        with WeakFileLock(lock):
            yield

    def keep(self) -> None:
        """Rename the complete, verified partial file to its final name. Raises OSError."""
        if isinstance(self.place, CachedFile):
            self.place.keep()
        else:
            self.partial.replace(self.path)

    def link(self) -> None:
        """Link a cached file into its snapshot, and set `refs/main` where there is none. Raises OSError."""
        if isinstance(self.place, Path):
            return
        pointer, blob = self.place.pointer, self.place.blob
        if blob.exists() and not (pointer.exists() and pointer.samefile(blob)):
            self.place.link()
        main = self.place.folder / "refs" / "main"
        main.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError), main.open("x", encoding="ascii") as file:
            file.write(self.place.commit)


def targets(index: BundleIndex, where: Destination) -> list[ImportTarget]:
    """Return the target of each file of each build; targets of two builds may share one digest."""
    return [ImportTarget(build, file, _place(build, file, where)) for build in index.builds for file in build.files]


def _place(build: BundledBuild, file: BundledFile, where: Destination) -> CachedFile | Path:
    if build.repo is not None and build.commit is not None:
        return CachedFile(where.cache, build.repo, build.commit, PinnedFile(file.name, file.size, file.sha256))
    shipped = ASSETS / file.name
    if build.source == "asset" and ImportTarget(build, file, shipped).is_whole():
        return shipped
    return where.models / file.name

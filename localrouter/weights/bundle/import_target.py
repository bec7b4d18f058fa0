"""Where one file of a bundled build goes on this machine, and whether it is there already.

The place is made of the index's checked fields alone, never of a name in the tar.
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
    """The folders of this machine. `wheels` None: wheels stay in the bundle."""

    cache: Path
    models: Path
    papers: Path
    wheels: Path | None = None

    @classmethod
    def here(cls, wheels: Path | None = None) -> "Destination":
        """The Hugging Face cache that the environment names, and the user's data folder."""
        given = Path(os.environ.get("XDG_DATA_HOME", ""))
        data = (given if given.is_absolute() else Path.home() / ".local" / "share") / "localrouter"
        return cls(cache_directory(), data / "models", data / "bundles", wheels)


@dataclass(frozen=True)
class ImportTarget:
    """One file of a build: a place in the Hugging Face cache, or a path of the user's own."""

    build: BundledBuild
    file: BundledFile
    place: CachedFile | Path

    @property
    def path(self) -> Path:
        """Where the bytes go."""
        return self.place if isinstance(self.place, Path) else self.place.blob

    @property
    def partial(self) -> Path:
        """What an interrupted import leaves, and the next one (or a download) goes on with."""
        return self.path.with_name(self.path.name + PARTIAL)

    @property
    def here(self) -> Path | None:
        """The file, if one of the right size is there already; its digest is another question."""
        for path in (self.path,) if isinstance(self.place, Path) else (self.place.pointer, self.path):
            if path.is_file() and path.stat().st_size == self.file.size:
                return path
        return None

    @property
    def missing(self) -> int:
        """Bytes that have to be written."""
        if self.here:
            return 0
        return self.file.size - (self.partial.stat().st_size if self.partial.is_file() else 0)

    def is_whole(self, report: Report = silent) -> bool:
        """Whether the file is there with the right digest. `report` hears of the bytes that were read for it."""
        if (path := self.here) is None:
            return False
        try:
            with path.open("rb", buffering=0) as file:
                return hashed(file, self.file.size, report) == self.file.sha256
        except (OSError, CutShort):
            return False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Make the folders, and hold the lock that every writer of this file takes. Raises OSError.

        Lock files stay, in a folder out of sight: if one is deleted while another process waits for it, that one gets
        the lock of a file without a name, and a third process one of a new file.
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
        """Give the whole and checked partial file its name. Raises OSError."""
        if isinstance(self.place, CachedFile):
            self.place.keep()
        else:
            self.partial.replace(self.path)

    def link(self) -> None:
        """In the cache: let the snapshot have the file, and make it `main` where nothing else is. Raises OSError."""
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
    """Where each file of each build goes; two builds may share the bytes of one."""
    return [ImportTarget(build, file, _place(build, file, where)) for build in index.builds for file in build.files]


def _place(build: BundledBuild, file: BundledFile, where: Destination) -> CachedFile | Path:
    if build.repo is not None and build.commit is not None:
        return CachedFile(where.cache, build.repo, build.commit, PinnedFile(file.name, file.size, file.sha256))
    shipped = ASSETS / file.name
    if build.source == "asset" and ImportTarget(build, file, shipped).is_whole():
        return shipped
    return where.models / file.name

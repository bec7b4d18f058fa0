"""One file of a pin in the Hugging Face cache: its paths, and its atomic placement.

The layout is huggingface_hub's: the bytes in `blobs/`, named by their sha256; in `snapshots/` a relative link to them
for every commit that has the file; in `refs/` the commit of a branch. On a file system without links the snapshot has
the file itself.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from huggingface_hub import constants
from huggingface_hub._local_folder import _create_cachedir_tag
from huggingface_hub.file_download import (
    _cache_commit_hash_for_specific_revision,
    _create_symlink,
    repo_folder_name,
)

from localrouter.errors import TransferError
from localrouter.weights.manifest.pin import Pin, PinnedFile

PARTIAL = ".localrouter-partial"
"""Suffix of a partial file in `blobs/`. The name is stable, so that the next run resumes the download."""


@dataclass(frozen=True)
class CachedFile:
    """Paths of one file in the Hugging Face cache. `cache` is the directory that HF_HUB_CACHE or HF_HOME names."""

    cache: Path
    repo: str
    commit: str
    file: PinnedFile

    def __post_init__(self) -> None:
        name = PurePosixPath(self.file.name)
        if name.is_absolute() or ".." in name.parts or "\\" in self.file.name:
            raise TransferError(f"{self.file.name!r} of {self.repo} is not a plain path inside a repository")

    @property
    def folder(self) -> Path:
        """Folder of the repository in the cache."""
        return self.cache / repo_folder_name(repo_id=self.repo, repo_type="model")

    @property
    def blob(self) -> Path:
        """Path of the complete bytes, named by their sha256."""
        return self.folder / "blobs" / self.file.sha256

    @property
    def partial(self) -> Path:
        """Path of the bytes received so far."""
        return self.blob.with_name(self.blob.name + PARTIAL)

    @property
    def pointer(self) -> Path:
        """Path of the file in its snapshot, which programs open."""
        return self.folder / "snapshots" / self.commit / self.file.name

    @property
    def lock(self) -> Path:
        """Path of the lock that every writer of this file takes, huggingface_hub included."""
        return self.cache / ".locks" / self.folder.name / f"{self.file.sha256}.lock"

    def is_present(self) -> bool:
        """Whether the file is in its snapshot, with the size of the pin."""
        return _size(self.pointer) == self.file.size

    def arrived(self) -> int:
        """Return the bytes of a partial file from an earlier run."""
        return min(_size(self.partial) or 0, self.file.size)

    def prepare(self) -> None:
        """Create the directories of the file in the cache."""
        for directory in (self.blob.parent, self.pointer.parent, self.lock.parent):
            directory.mkdir(parents=True, exist_ok=True)
        _create_cachedir_tag(self.cache)

    def keep(self) -> None:
        """Rename the complete, verified partial file to its blob."""
        try:
            os.replace(self.partial, self.blob)
        except FileNotFoundError:
            # On some network file systems locks have no effect. Then two processes may write the same bytes at the same
            # offsets of one partial file, and the other process has renamed it already.
            if _size(self.blob) != self.file.size:
                raise
        _sync_directory(self.blob.parent)

    def link(self) -> None:
        """Link the blob into its snapshot."""
        _create_symlink(str(self.blob), str(self.pointer), new_blob=True)
        _sync_directory(self.pointer.parent)


def cache_directory() -> Path:
    """Return the cache directory of huggingface_hub."""
    return Path(constants.HF_HUB_CACHE).expanduser()


def write_ref(cache: Path, pin: Pin, revision: str) -> None:
    """Record the commit of a branch or tag in the cache, as huggingface_hub does after a request."""
    with writing(cache):
        folder = cache / repo_folder_name(repo_id=pin.repo, repo_type="model")
        _cache_commit_hash_for_specific_revision(str(folder), revision, pin.commit)


@contextmanager
def writing(cache: Path) -> Iterator[None]:
    """Turn errors of writing to the cache into TransferError."""
    try:
        yield
    except OSError as error:
        raise TransferError(
            f"the cache {cache} cannot be written: {error.strerror or error}",
            hint="make it writable or free some space, or set HF_HOME to another directory",
        ) from error


def _size(path: Path) -> int | None:
    """Return the bytes of a regular file; None when there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _sync_directory(directory: Path) -> None:
    """Flush a directory with a new name to disk, where the system can open directories."""
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

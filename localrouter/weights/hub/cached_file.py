"""One file of a pin in the Hugging Face cache: where it stands, and how it gets there in one step.

The layout is the library's: the bytes in `blobs/`, named by their sha256; in `snapshots/` a relative link to them for
every commit that has the file; in `refs/` the commit of a branch. Where the file system has no links, the file itself
stands in the snapshot.
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
"""Ending of a file in `blobs/` that has begun to arrive. The name is stable, so that the next run goes on with it."""


@dataclass(frozen=True)
class CachedFile:
    """The places of one file. `cache` is the directory that HF_HUB_CACHE or HF_HOME names."""

    cache: Path
    repo: str
    commit: str
    file: PinnedFile

    def __post_init__(self) -> None:
        name = PurePosixPath(self.file.name)
        if name.is_absolute() or ".." in name.parts or "\\" in self.file.name:
            raise TransferError(f"{self.file.name!r} of {self.repo} is no plain path inside a repository")

    @property
    def folder(self) -> Path:
        """Everything of this repository."""
        return self.cache / repo_folder_name(repo_id=self.repo, repo_type="model")

    @property
    def blob(self) -> Path:
        """The bytes."""
        return self.folder / "blobs" / self.file.sha256

    @property
    def partial(self) -> Path:
        """The bytes that have arrived so far."""
        return self.blob.with_name(self.blob.name + PARTIAL)

    @property
    def pointer(self) -> Path:
        """The path that programs open."""
        return self.folder / "snapshots" / self.commit / self.file.name

    @property
    def lock(self) -> Path:
        """The lock of whoever writes this file; the library takes the same one."""
        return self.cache / ".locks" / self.folder.name / f"{self.file.sha256}.lock"

    def is_present(self) -> bool:
        """Whether the file is in its snapshot, with the size of the pin."""
        return _size(self.pointer) == self.file.size

    def arrived(self) -> int:
        """Bytes of a partial file from an earlier run."""
        return min(_size(self.partial) or 0, self.file.size)

    def prepare(self) -> None:
        """Make the directories."""
        for directory in (self.blob.parent, self.pointer.parent, self.lock.parent):
            directory.mkdir(parents=True, exist_ok=True)
        _create_cachedir_tag(self.cache)

    def keep(self) -> None:
        """Move the whole and checked partial file into its place."""
        try:
            os.replace(self.partial, self.blob)
        except FileNotFoundError:
            # Locks do nothing on some network file systems. Then two may write the same bytes to the same places of one
            # partial file, and the other one has moved it already.
            if _size(self.blob) != self.file.size:
                raise
        _sync_directory(self.blob.parent)

    def link(self) -> None:
        """Let the snapshot have the blob."""
        _create_symlink(str(self.blob), str(self.pointer), new_blob=True)
        _sync_directory(self.pointer.parent)


def cache_directory() -> Path:
    """Where the library's cache is."""
    return Path(constants.HF_HUB_CACHE).expanduser()


def write_ref(cache: Path, pin: Pin, revision: str) -> None:
    """Note which commit a branch or tag was, as the library does after it has asked."""
    with writing(cache):
        folder = cache / repo_folder_name(repo_id=pin.repo, repo_type="model")
        _cache_commit_hash_for_specific_revision(str(folder), revision, pin.commit)


@contextmanager
def writing(cache: Path) -> Iterator[None]:
    """Turn what the disk refuses into a TransferError."""
    try:
        yield
    except OSError as error:
        raise TransferError(
            f"the cache {cache} cannot be written: {error.strerror or error}",
            hint="make it writable or free some space, or name another directory with HF_HOME",
        ) from error


def _size(path: Path) -> int | None:
    """Bytes of a regular file, None when there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _sync_directory(directory: Path) -> None:
    """Bring the new name to the disk as well, where a directory can be opened."""
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

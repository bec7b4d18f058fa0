"""Deletion of files in the Hugging Face cache: of builds that are removed, and of those that no manifest names."""

import dataclasses
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout
from huggingface_hub import CachedRepoInfo, DeleteCacheStrategy, HFCacheInfo, scan_cache_dir
from huggingface_hub.errors import CacheNotFound
from huggingface_hub.utils._cache_manager import CachedFileInfo
from huggingface_hub.utils._fixes import WeakFileLock

from localrouter.errors import OperatorError
from localrouter.gguf.parts import parts
from localrouter.weights.disk_usage import UNFINISHED, holding, unfinished_downloads
from localrouter.weights.hub.cached_file import PARTIAL, CachedFile, cache_directory
from localrouter.weights.registry import RegistryEntry

DAY = 86_400.0


@dataclass(frozen=True)
class Removal:
    """Files of builds to delete, and the bytes freed: a file that another snapshot uses too frees none."""

    files: tuple[Path, ...]
    freed: int
    strategy: DeleteCacheStrategy | None = None
    unfinished: tuple[CachedFile, ...] = ()

    def execute(self) -> None:
        """Delete the files, and snapshots that become empty. Raises OperatorError when a file cannot be deleted."""
        for place in self.unfinished:
            _delete_unfinished(place)
        if self.strategy is None:
            return
        try:
            self.strategy.execute()
        except OSError as error:
            raise _resists(self.files, error) from None
        if left := [path for path in (*self.files, *self.strategy.blobs) if path.is_symlink() or path.exists()]:
            raise _resists(left)
        for repo in {_snapshot(path).parents[1] for path in self.files}:
            _drop_empty(repo)


@dataclass(frozen=True)
class Leftover:
    """A revision or a file in the cache that no manifest names."""

    what: str
    repo: str
    name: str
    size: int
    """Bytes that the deletion frees."""
    strategy: DeleteCacheStrategy

    def delete(self) -> None:
        """Delete the revision or the file. Raises OperatorError when it cannot be deleted."""
        try:
            self.strategy.execute()
        except OSError as error:
            raise _resists([*self.strategy.files, *self.strategy.blobs], error) from None
        gone = (*self.strategy.files, *self.strategy.blobs, *self.strategy.snapshots, *self.strategy.repos)
        if left := [path for path in gone if path.exists()]:
            raise _resists(left)


def scan_cache() -> HFCacheInfo | None:
    """Return the contents of the Hugging Face cache; None without a cache. Raises OperatorError."""
    try:
        return scan_cache_dir(cache_directory())
    except (CacheNotFound, ValueError):
        return None
    except (OSError, RuntimeError) as error:  # RuntimeError: a link that leads to itself
        why = error.strerror if isinstance(error, OSError) else error
        raise OperatorError(
            f"{cache_directory()}: the cache cannot be read: {why}",
            hint="check the directory and its permissions, or set HF_HOME to another one",
        ) from None


def removal(entries: Sequence[RegistryEntry], cache: HFCacheInfo | None) -> Removal:
    """Return the cached files of these builds: of the pinned revision, or without a pin every copy of the file."""
    if cache is None:
        return Removal((), 0)
    unfinished = tuple(place for entry in entries for place in _unfinished(entry))
    begun = sum(place.partial.stat().st_size for place in unfinished)
    files = {file for entry in entries for file in _cached(entry, cache)}
    if not files:
        return Removal((), begun, None, unfinished)
    strategy = cache.delete_files(*files)
    paths = tuple(sorted(file.file_path for file in files))
    return Removal(paths, strategy.expected_freed_size + begun, strategy, unfinished)


def leftovers(entries: Sequence[RegistryEntry], cache: HFCacheInfo | None, now: float | None = None) -> list[Leftover]:
    """Return what can be deleted: unfinished downloads older than a day, and of the repositories of these builds every
    revision that none of them names, and every blob older than a day that no snapshot uses.
    """
    if cache is None or cache.cache_dir is None:
        return []
    before = (time.time() if now is None else now) - DAY
    repos = {entry.build.repo for entry in entries if entry.build.repo}
    found = [*_old_downloads(cache.cache_dir, repos, before)]
    for repo in sorted(cache.repos, key=lambda repo: repo.repo_id):
        if repo.repo_type == "model" and repo.repo_id in repos:
            found += _unnamed(repo, named_revisions(entries, repo.repo_id), cache)
            found += _unused_blobs(repo, before)
    return found


def named_revisions(entries: Iterable[RegistryEntry], repo: str) -> frozenset[str]:
    """Return the commits of a repository that builds need: the pinned ones, else those where their file was found."""
    commits: set[str] = set()
    for entry in entries:
        if entry.build.repo != repo:
            continue
        if commit := _commit(entry):
            commits.add(commit)
        elif files := holding(entry).files:
            commits.add(_snapshot(files[0]).name)
    return frozenset(commits)


def _cached(entry: RegistryEntry, cache: HFCacheInfo) -> Iterator[CachedFileInfo]:
    assert entry.build.file is not None
    wanted, commit = parts(entry.build.file), _commit(entry)
    for repo in cache.repos:
        if repo.repo_type == "model" and repo.repo_id == entry.build.repo:
            for revision in repo.revisions:
                places = {revision.snapshot_path / name for name in wanted}
                if commit in (None, revision.commit_hash):
                    yield from (file for file in revision.files if file.file_path in places)


def _unfinished(entry: RegistryEntry) -> Iterator[CachedFile]:
    """Yield the partially downloaded files of a pinned build."""
    if pin := entry.pin:
        places = (CachedFile(cache_directory(), pin.repo, pin.commit, file) for file in pin.files)
        yield from (place for place in places if place.partial.is_file())


def _commit(entry: RegistryEntry) -> str | None:
    return entry.locked.revision


def _old_downloads(cache: Path, repos: Set[str], before: float) -> Iterator[Leftover]:
    """Yield old partial files: localrouter's own, and huggingface_hub's in `repos`; others belong to other programs."""
    for path in unfinished_downloads(cache):
        found = _file("unfinished download", path)
        if (path.name.endswith(PARTIAL) or found.repo in repos) and path.stat().st_mtime < before:
            yield found


def _unnamed(repo: CachedRepoInfo, named: frozenset[str], cache: HFCacheInfo) -> Iterator[Leftover]:
    """Yield the revisions that are not named, each with the bytes that it frees after the earlier ones are deleted."""
    left = repo
    for revision in sorted(repo.revisions, key=lambda revision: revision.commit_hash):
        if revision.commit_hash not in named:
            # The library assumes that a commit is unique in the cache, so it is given this repository only.
            shown = dataclasses.replace(cache, repos=frozenset({left}))
            strategy = shown.delete_revisions(revision.commit_hash)
            size = strategy.expected_freed_size
            yield Leftover("revision", repo.repo_id, revision.commit_hash, size, strategy)
            left = dataclasses.replace(left, revisions=left.revisions - {revision})


def _unused_blobs(repo: CachedRepoInfo, before: float) -> Iterator[Leftover]:
    used = {file.blob_path for revision in repo.revisions for file in revision.files}
    for path in sorted((repo.repo_path / "blobs").glob("*")):
        unfinished = path.name.endswith(UNFINISHED)
        if path not in used and not unfinished and path.is_file() and path.stat().st_mtime < before:
            yield _file("unused file", path)


def _file(what: str, path: Path) -> Leftover:
    repo = path.parents[1].name.partition("--")[2].replace("--", "/")
    size = path.stat().st_size
    nothing: frozenset[Path] = frozenset()
    strategy = DeleteCacheStrategy(size, nothing, nothing, nothing, nothing, files=frozenset({path}))
    return Leftover(what, repo, path.name, size, strategy)


def _snapshot(pointer: Path) -> Path:
    """Return the snapshot folder that a file of the cache belongs to."""
    return next(
        folder
        for folder in reversed(pointer.parents)
        if folder.parent.name == "snapshots" and folder.parent.parent.name.startswith("models--")
    )


def _drop_empty(repo: Path) -> None:
    """Remove empty snapshots, refs to them, and the folder of the repository if nothing is left.

    Nothing is removed during a download, whose writer has created its directories already.
    """
    if any(path.name.endswith(UNFINISHED) for path in repo.glob("blobs/*")):
        return
    snapshots = [*repo.glob("snapshots/*")]
    empty = [
        folder for folder in snapshots if not any(path.is_symlink() or path.is_file() for path in folder.rglob("*"))
    ]
    with suppress(OSError):
        for folder in empty:
            shutil.rmtree(folder)
        for ref in repo.glob("refs/**/*"):
            if ref.is_file() and ref.read_text() in {folder.name for folder in empty}:
                ref.unlink()
        if len(empty) == len(snapshots) and not [*repo.glob("blobs/*")]:
            shutil.rmtree(repo)


def _delete_unfinished(place: CachedFile) -> None:
    """Delete a partial file under the lock that every writer of the file takes. Raises OperatorError if it is held."""
    try:
        with WeakFileLock(place.lock, timeout=0.1):
            place.partial.unlink(missing_ok=True)
    except Timeout:
        raise OperatorError(
            f"{place.file.name} is being downloaded by another process", hint="stop that process first"
        ) from None


def _resists(paths: Sequence[Path], error: OSError | None = None) -> OperatorError:
    why = f": {error.strerror or error}" if error else ""
    return OperatorError(
        f"{paths[0]} cannot be deleted{why}", hint="check the permissions of the cache, and run the command again"
    )

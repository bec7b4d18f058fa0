"""Location of a build's file on this machine. Reads the disk only, and opens no connection."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TypeAlias

import localrouter
from localrouter.gguf.parts import parts
from localrouter.weights.manifest.manifest import Build

ASSETS = Path(localrouter.__file__).parent / "assets"


@dataclass(frozen=True)
class Found:
    """The file exists, with the size of the manifest if that has one; `size` is in bytes.

    Of a split GGUF all parts exist: `path` is the first one, `size` is that of all together.
    """

    path: str
    size: int


@dataclass(frozen=True)
class Damaged:
    """The file exists with another size than in the manifest: it is truncated, or another file."""

    path: str
    size: int
    expected: int

    @property
    def message(self) -> str:
        """Error message with both sizes, without a local path, because clients see it."""
        return f"its file has {self.size:,} bytes instead of {self.expected:,}: it is truncated, or another file"


@dataclass(frozen=True)
class Missing:
    """The file does not exist, or some parts of a split GGUF do not."""

    first: str = ""
    """Path of the first part, which may not exist, if any part exists."""
    absent: tuple[str, ...] = ()
    """Names of missing parts, if any part exists."""


Location: TypeAlias = Found | Damaged | Missing


def locate(build: Build, manifest_dir: Path, *, cache_dir: Path | None = None) -> Location:
    """Return the location of a build's file. `cache_dir` is the Hugging Face cache; default: HF_HUB_CACHE or HF_HOME.

    Of several cached copies (for a build without a revision) one with the right size is preferred.
    """
    seen: list[Location] = []
    for path in _candidates(build, manifest_dir, cache_dir):
        location = _examine(path, build.size)
        if isinstance(location, Found):
            return location
        seen.append(location)
    return min(seen, key=_distance, default=Missing())


def _distance(location: Location) -> tuple[bool, float]:
    """Sort key of unusable copies: damaged ones first, then those with the fewest missing parts."""
    if isinstance(location, Missing):
        return True, len(location.absent) or inf
    return False, 0


def expand(path: str, base: Path) -> Path:
    """Return a path with `~` expanded; a relative one starts at `base`."""
    return base / os.path.expanduser(path)


def _candidates(build: Build, manifest_dir: Path, cache_dir: Path | None) -> Iterator[str]:
    if build.asset is not None:
        yield str(ASSETS / build.asset)
    elif build.path is not None:
        yield str(expand(build.path, manifest_dir))
    elif build.repo is not None and build.file is not None:
        yield from _cached(build.repo, build.file, build.revision, cache_dir)


def _cached(repo: str, file: str, revision: str | None, cache_dir: Path | None) -> Iterator[str]:
    """Yield the cached copies of a hub file: of this revision, or without one of all, `main` first.

    For a split GGUF, the path of the first part is yielded if any part exists.
    """
    # Imported when first needed: 0.2 s and 23 MB by itself, 0.04 s and 3 MB in a process that has asyncio and ssl.
    from huggingface_hub import constants  # noqa: PLC0415
    from huggingface_hub.file_download import repo_folder_name, try_to_load_from_cache  # noqa: PLC0415

    cache = cache_dir or Path(constants.HF_HUB_CACHE)
    snapshots = cache / repo_folder_name(repo_id=repo, repo_type="model") / "snapshots"
    try:
        others = [] if revision or not snapshots.is_dir() else sorted(os.listdir(snapshots))
        for each in [revision or "main", *others]:
            loaded = (try_to_load_from_cache(repo, part, cache_dir=cache, revision=each) for part in parts(file))
            if here := next((path for path in loaded if isinstance(path, str)), None):
                yield os.path.join(os.path.dirname(here), os.path.basename(parts(file)[0]))
    except OSError:
        return  # an unreadable cache counts as empty


def files_at(first: str) -> tuple[str, ...]:
    """Return the paths of all parts of a GGUF, given that of the first; one path if it is not split."""
    folder, name = os.path.split(first)
    return tuple(os.path.join(folder, part) for part in parts(name))


def _examine(path: str, expected: int | None) -> Location:
    files = files_at(path)
    taken = {file: _size(file) for file in files}
    absent = tuple(os.path.basename(file) for file in files if taken[file] is None)
    if len(absent) == len(files):
        return Missing()
    if absent:
        return Missing(files[0], absent)
    size = sum(each or 0 for each in taken.values())
    return Found(files[0], size) if expected in {None, size} else Damaged(files[0], size, expected or 0)


def _size(path: str) -> int | None:
    """Return the bytes of a regular file; None when there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None

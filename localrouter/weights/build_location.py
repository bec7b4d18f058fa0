"""Where the file of a build is on this machine. Looks at the disk only: nothing here opens a connection."""

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
    """The file is there; `size` is in bytes. Its size is the manifest's, where that says one.

    Of a split GGUF all parts are there, beside each other: `path` is the first one, `size` is of all together.
    """

    path: str
    size: int


@dataclass(frozen=True)
class Damaged:
    """A file is there, and its size is not the manifest's: it was cut, or it is another file."""

    path: str
    size: int
    expected: int

    @property
    def message(self) -> str:
        """Both sizes, in words that may reach a client."""
        return (
            f"its file has {self.size:,} bytes where the manifest says {self.expected:,}: it was cut or is another file"
        )


@dataclass(frozen=True)
class Missing:
    """No such file, or not all parts of a split one."""

    first: str = ""
    """Where some parts are here: the place of the first part, be it here or not."""
    absent: tuple[str, ...] = ()
    """The names of the parts that are not beside the others."""


Location: TypeAlias = Found | Damaged | Missing


def locate(build: Build, manifest_dir: Path, *, cache_dir: Path | None = None) -> Location:
    """Look for the file of a build. `cache_dir` is the Hugging Face cache; default: what HF_HUB_CACHE or HF_HOME say.

    Of several copies in the cache (a build without a revision) one with the right size is preferred.
    """
    seen: list[Location] = []
    for path in _candidates(build, manifest_dir, cache_dir):
        location = _examine(path, build.size)
        if isinstance(location, Found):
            return location
        seen.append(location)
    return min(seen, key=_distance, default=Missing())


def _distance(location: Location) -> tuple[bool, float]:
    """Which of several copies that cannot be used is the closest to one that can: then the fewest parts are absent."""
    if isinstance(location, Missing):
        return True, len(location.absent) or inf
    return False, 0


def expand(path: str, base: Path) -> Path:
    """A path as a person writes it: `~` is the home, and a relative one starts at `base`."""
    return base / os.path.expanduser(path)


def _candidates(build: Build, manifest_dir: Path, cache_dir: Path | None) -> Iterator[str]:
    if build.asset is not None:
        yield str(ASSETS / build.asset)
    elif build.path is not None:
        yield str(expand(build.path, manifest_dir))
    elif build.repo is not None and build.file is not None:
        yield from _cached(build.repo, build.file, build.revision, cache_dir)


def _cached(repo: str, file: str, revision: str | None, cache_dir: Path | None) -> Iterator[str]:
    """Copies of a hub file: of this revision, or of any with `main` before the others.

    Of a split one the place of the first part, where any part is.
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
        return  # a cache that may not be read has nothing for us


def files_at(first: str) -> tuple[str, ...]:
    """The file at this path, and the others that belong to it where the GGUF is split."""
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
    """Bytes of a file; None when there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None

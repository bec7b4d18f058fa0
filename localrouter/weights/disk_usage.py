"""Bytes that builds and unfinished downloads take on this disk."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from localrouter.weights.build_location import Damaged, Found
from localrouter.weights.hub.cached_file import PARTIAL, cache_directory
from localrouter.weights.registry import RegistryEntry

UNFINISHED = (PARTIAL, ".incomplete")
"""Endings of partial files in the Hugging Face cache: localrouter's, and those of huggingface_hub."""


@dataclass(frozen=True)
class Holding:
    """The files of one build that are on this machine; of a split build, the parts that are there."""

    entry: RegistryEntry
    files: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(path.stat().st_size for path in self.files)


@dataclass(frozen=True)
class DiskUsage:
    """Bytes on disk. `total` counts a file that several builds share once, and includes unfinished downloads."""

    holdings: tuple[Holding, ...]
    unfinished: int
    total: int


def holding(entry: RegistryEntry) -> Holding:
    """The files of a build that are on this machine, whatever their size."""
    location = entry.locate()
    if not isinstance(location, (Found, Damaged)):
        return Holding(entry, ())
    return Holding(entry, tuple(path for path in entry.files(location.path) if path.is_file()))


def usage(entries: Iterable[RegistryEntry]) -> DiskUsage:
    """The disk usage of these builds and of all unfinished downloads in the Hugging Face cache."""
    holdings = tuple(each for each in map(holding, entries) if each.files)
    sizes = {_identity(path): path.stat().st_size for each in holdings for path in each.files}
    unfinished = sum(path.stat().st_size for path in unfinished_downloads(cache_directory()))
    return DiskUsage(holdings, unfinished, sum(sizes.values()) + unfinished)


def unfinished_downloads(cache: Path) -> Iterator[Path]:
    """Yield the partial files of the cache, localrouter's and those of huggingface_hub."""
    for path in sorted(cache.glob("*/blobs/*")):
        if path.name.endswith(UNFINISHED) and path.is_file():
            yield path


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino

"""The shapes of builds: from the best facts there are of each. Headers of files are read once."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from localrouter.errors import HubError
from localrouter.gguf.header import GgufError, read_headers
from localrouter.gguf.parts import parts
from localrouter.memory.shape import Shape, shape_of_headers, shape_of_size
from localrouter.weights.build_location import Found, files_at
from localrouter.weights.hub.remote_header import Ranges, remote_headers
from localrouter.weights.registry import RegistryEntry

Stamp: TypeAlias = tuple[tuple[str, int, int], ...]
"""Path, time of change and size of each file of a build."""


def stamp(found: Found) -> Stamp:
    """What changes when one of the files of a build does."""
    stamps = []
    for file in files_at(found.path):
        try:
            status = os.stat(file)
        except OSError:  # gone since it was found
            continue
        stamps.append((file, status.st_mtime_ns, status.st_size))
    return tuple(stamps)


class ShapeCache:
    """Shapes by stamp: each header is read once for as long as its file stays as it is."""

    def __init__(self) -> None:
        self._shapes: dict[Stamp, Shape] = {}

    def shape(self, found: Found) -> Shape:
        """The shape of the files of a build."""
        key = stamp(found)
        known = self._shapes.get(key)
        if known is None:
            known = self._shapes[key] = shape_of_file(found)
        return known


def shape_of_file(found: Found) -> Shape:
    """The shape that the headers of a build's files describe; where they cannot be read, its size is all."""
    try:
        return shape_of_headers(read_headers(Path(found.path)))
    except GgufError:
        return shape_of_size(found.size)


def shape_of_build(
    entry: RegistryEntry, hub: Ranges | None = None, tell: Callable[[str], None] = lambda _: None
) -> Shape:
    """The shape of a build: as its file says, or its header on the hub, or the manifest, or as large as it is.

    Without `hub` no connection is opened. `tell` is told why the hub did not help. Where nothing is known the shape has
    no weights.
    """
    location = entry.locate()
    if isinstance(location, Found):
        shape = shape_of_file(location)
        if shape.complete:
            return shape
    if hub is not None and entry.build.repo and entry.build.file:
        try:
            return _shape_on_hub(entry, entry.build.repo, entry.build.file, hub)
        except (HubError, GgufError) as error:
            tell(f"{entry.name}: {error.message}; what the manifest says is taken")
    size = location.size if isinstance(location, Found) else entry.locked.size or 0
    return entry.build.shape.of_size(size) if entry.build.shape and size else shape_of_size(size)


def _shape_on_hub(entry: RegistryEntry, repo: str, file: str, hub: Ranges) -> Shape:
    commit = entry.locked.revision or "main"
    return shape_of_headers(remote_headers(hub, repo, commit, parts(file)), "hub")

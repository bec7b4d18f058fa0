"""Shapes of builds, from the best source available: file, header on the hub, manifest, size."""

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
"""Path, modification time and size of each file of a build."""


def stamp(found: Found) -> Stamp:
    """Return a key that changes when a file of the build changes."""
    stamps = []
    for file in files_at(found.path):
        try:
            status = os.stat(file)
        except OSError:  # gone since it was found
            continue
        stamps.append((file, status.st_mtime_ns, status.st_size))
    return tuple(stamps)


class ShapeCache:
    """Cache of shapes by stamp: the header of an unchanged file is read once."""

    def __init__(self) -> None:
        self._shapes: dict[Stamp, Shape] = {}

    def shape(self, found: Found) -> Shape:
        """Return the shape of a build's files, from the cache if they are unchanged."""
        key = stamp(found)
        known = self._shapes.get(key)
        if known is None:
            known = self._shapes[key] = shape_of_file(found)
        return known


def shape_of_file(found: Found) -> Shape:
    """Return the shape from the headers of a build's files, or from the size alone if they cannot be read."""
    try:
        return shape_of_headers(read_headers(Path(found.path)))
    except GgufError:
        return shape_of_size(found.size)


def shape_of_build(
    entry: RegistryEntry, hub: Ranges | None = None, tell: Callable[[str], None] = lambda _: None
) -> Shape:
    """Return the shape of a build from its file, else its header on the hub, else the manifest, else its size alone.

    Without `hub` no connection is opened. `tell` is called with the reason when the hub fails. If nothing is known, the
    shape has no weights.
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
            tell(f"{entry.name}: {error.message}; the shape in the manifest is used")
    size = location.size if isinstance(location, Found) else entry.locked.size or 0
    return entry.build.shape.of_size(size) if entry.build.shape and size else shape_of_size(size)


def _shape_on_hub(entry: RegistryEntry, repo: str, file: str, hub: Ranges) -> Shape:
    commit = entry.locked.revision or "main"
    return shape_of_headers(remote_headers(hub, repo, commit, parts(file)), "hub")

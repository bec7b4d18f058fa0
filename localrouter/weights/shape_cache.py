"""The shapes of files on this machine, each header read once for as long as its file stays as it is."""

import os
from pathlib import Path
from typing import TypeAlias

from localrouter.gguf.header import GgufError, read_header
from localrouter.memory.shape import Shape, shape_of_headers, shape_of_size
from localrouter.weights.store import Found, files_at

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
    """Shapes by stamp. A file whose header cannot be read is known by its size alone."""

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
    """Read the shape from the headers of a build's files, or take their size for all that is known."""
    try:
        return shape_of_headers([read_header(Path(file)) for file in files_at(found.path)])
    except GgufError:
        return shape_of_size(found.size)

"""The folder for what benchmarks make and can make again: models, programs of llama.cpp, and the last results."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_home() -> Path:
    """Return localrouter's folder in the cache of this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "localrouter"


def bench_home() -> Path:
    """Return the folder of the models; the results of the last runs are in one below it."""
    return cache_home() / "bench"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; it becomes `path` when the block ends without an error."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        yield unfinished
        unfinished.replace(path)

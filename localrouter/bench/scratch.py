"""Cache folders of benchmarks: synthetic models, llama.cpp's programs, and previous results."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_home() -> Path:
    """Return localrouter's folder in the user's cache directory."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "localrouter"


def bench_home() -> Path:
    """Return the folder of synthetic models; its subfolder `results` has the results of previous runs."""
    return cache_home() / "bench"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path that is renamed to `path` when the block ends without an error."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        yield unfinished
        unfinished.replace(path)

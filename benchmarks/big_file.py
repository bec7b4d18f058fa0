"""Large GGUF for benchmarks of file handling: a valid header, tensors of random bytes, and no runnable model."""

from pathlib import Path

import numpy as np

from localrouter.bench.scratch import atomic, bench_home
from localrouter.gguf.writer import I8, MetadataEntry, write_gguf

FORMAT = 1
"""Version of the written files; increased with every change, so that older cached files are not reused."""
SEED = 0
TENSOR = 64 << 20
"""Bytes of a tensor, and the most that are in memory while the file is written."""


def big_file(size: int) -> Path:
    """Return a GGUF with `size` bytes of tensors, from the cache or written now. The file is reproducible."""
    path = bench_home() / f"file-{FORMAT}-{size}.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as unfinished:
            write_big_file(unfinished, size)
    return path


def write_big_file(path: Path, size: int) -> None:
    """Write a GGUF of random bytes; zeros could become a hole, or be compressed by the file system."""
    sizes = [min(TENSOR, size - start) for start in range(0, size, TENSOR)]
    table = [MetadataEntry(f"blk.{number}.weight", (each,), I8) for number, each in enumerate(sizes)]
    rng = np.random.default_rng(SEED)
    with path.open("wb") as file:
        metadata = {"general.architecture": "qwen3", "general.name": "file-synthetic"}
        write_gguf(file, metadata, table, (rng.bytes(each) for each in sizes))

"""A large GGUF for whatever handles files: its header is true, its tensors are random bytes, and nobody can run it."""

from pathlib import Path

import numpy as np

from localrouter.bench.scratch import atomic, bench_home
from localrouter.gguf.writer import I8, MetadataEntry, write_gguf

FORMAT = 1
"""Counts up when what is written changes, so that files from before are not used again."""
SEED = 0
TENSOR = 64 << 20
"""Bytes of a tensor, and the most that are in memory while the file is written."""


def big_file(size: int) -> Path:
    """Return a GGUF with `size` bytes of tensors, from the cache or written now: always the same bytes."""
    path = bench_home() / f"file-{FORMAT}-{size}.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as unfinished:
            write_big_file(unfinished, size)
    return path


def write_big_file(path: Path, size: int) -> None:
    """Write it. Random bytes, because zeros could be a hole, or be packed by the file system."""
    sizes = [min(TENSOR, size - start) for start in range(0, size, TENSOR)]
    table = [MetadataEntry(f"blk.{number}.weight", (each,), I8) for number, each in enumerate(sizes)]
    draw = np.random.default_rng(SEED)
    with path.open("wb") as file:
        metadata = {"general.architecture": "qwen3", "general.name": "file-synthetic"}
        write_gguf(file, metadata, table, (draw.bytes(each) for each in sizes))

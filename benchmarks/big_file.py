"""A large GGUF for whatever handles files: its header is true, its tensors are random bytes, and nobody can run it."""

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter

from benchmarks.synthetic import atomic, cache_home

FORMAT = 1
"""Counts up when what is written changes, so that files from before are not used again."""
SEED = 0
TENSOR = 64 << 20
"""Bytes of a tensor, and the most that are in memory while the file is written."""


def big_file(size: int) -> Path:
    """Return a GGUF with `size` bytes of tensors, from the cache or written now: always the same bytes."""
    path = cache_home() / "bench" / f"file-{FORMAT}-{size}.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as unfinished:
            write_big_file(unfinished, size)
    return path


def write_big_file(path: Path, size: int) -> None:
    """Write it. Random bytes, because zeros could be a hole, or be packed by the file system."""
    writer = GGUFWriter(path, "qwen3")
    writer.add_name("file-synthetic")
    sizes = [min(TENSOR, size - start) for start in range(0, size, TENSOR)]
    for number, each in enumerate(sizes):
        kind = GGMLQuantizationType.I8
        writer.add_tensor_info(f"blk.{number}.weight", (each,), np.dtype(np.int8), each, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    draw = np.random.default_rng(SEED)
    with path.open("ab") as file:
        file.write(bytes(-file.tell() % writer.data_alignment))
        for each in sizes:
            file.write(draw.bytes(each))
            file.write(bytes(-each % writer.data_alignment))

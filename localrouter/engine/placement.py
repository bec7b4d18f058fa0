"""Where a model goes: how many layers to a GPU, how many cells of cache, how many threads. Pure functions of facts."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from localrouter.engine.messages import LoadOptions

POOL = 32768
"""Cells that are enough for a pool when nobody asks for more: 32 conversations of 1,024 tokens."""
FEWEST_CELLS = 512
CACHE_SHARE = 0.25
"""Share of the free memory that the cache may take when nobody says how large it should be."""
WEIGHTS_SHARE = 0.9
"""Share of the free memory of a GPU that weights and cache may fill: compute buffers and the desktop need the rest."""
BYTES_PER_ELEMENT = 2
"""Keys and values are held as f16."""


class DoesNotFit(Exception):
    """The model, or a useful cache beside it, does not fit into memory."""


@dataclass(frozen=True)
class Shape:
    """What of a model decides how much memory a cell of its cache takes."""

    layers: int
    attention_layers: int
    kv_heads: int
    key_length: int
    value_length: int

    @property
    def bytes_per_cell(self) -> int:
        """Keys and values of one position in all attention layers."""
        return self.attention_layers * self.kv_heads * (self.key_length + self.value_length) * BYTES_PER_ELEMENT


def shape_of(metadata: Mapping[str, str]) -> Shape:
    """Return the shape that a GGUF's metadata describes, as llama.cpp prints it, without the architecture's prefix.

    Hybrid models have attention in every `full_attention_interval`-th layer only. Where layers differ the largest
    counts, so that the estimate errs on the side of fitting.
    """
    layers = _largest(metadata, "block_count", 1)
    heads = _largest(metadata, "attention.head_count", 1)
    head = _largest(metadata, "embedding_length", heads) // heads
    return Shape(
        layers=layers,
        attention_layers=max(1, layers // _largest(metadata, "full_attention_interval", 1)),
        kv_heads=_largest(metadata, "attention.head_count_kv", heads),
        key_length=_largest(metadata, "attention.key_length", head),
        value_length=_largest(metadata, "attention.value_length", head),
    )


def _largest(metadata: Mapping[str, str], key: str, default: int) -> int:
    """Return a number, or the largest of an array of them: `[4, 4, 8]`."""
    return max([int(number) for number in re.findall(r"\d+", metadata.get(key, ""))] + [0]) or default


def layers_on_gpu(
    wanted: int | Literal["auto", "all"], *, layers: int, weights: int, cache: int, free: int | None
) -> int:
    """Return how many layers to offload, the output layer counted as one.

    `weights` and `cache` are in bytes for all layers, `free` is the free memory of the GPUs, None without one. "auto"
    takes as many layers as fit, weights and cache of a layer together.
    """
    total = layers + 1
    if free is None:
        return 0
    if wanted == "all":
        return total
    if isinstance(wanted, int):
        return min(wanted, total)
    per_layer = (weights + cache) / total
    return min(total, int(WEIGHTS_SHARE * free / per_layer))


def cache_size(options: LoadOptions, *, trained: int, bytes_per_cell: int, free: int) -> tuple[int, int]:
    """Return (context, cells): the longest conversation, and the pool that all conversations share.

    What the operator asks for is taken as it is. Otherwise the context is what the model was trained for, and the pool
    is `POOL` cells or what `CACHE_SHARE` of the `free` bytes holds; the context never exceeds the pool. Raises
    DoesNotFit when not even `FEWEST_CELLS` can be had.
    """
    cells = options.cells
    if cells is None:
        affordable = int(CACHE_SHARE * free / max(bytes_per_cell, 1))
        cells = options.context or 0
        cells = max(cells, min(POOL, affordable))
        if cells < FEWEST_CELLS and options.context is None:
            raise DoesNotFit(
                f"a cache of {FEWEST_CELLS} positions needs {FEWEST_CELLS * bytes_per_cell >> 20} MiB, "
                f"and {free >> 20} MiB of memory are free"
            )
    return min(options.context or trained, cells), cells


def fewest_fast_threads(cores: int, seconds_per_token: Callable[[int], float]) -> int:
    """Return the smallest of 1, 2, 4, ... `cores` threads that is within a fifth of the fastest.

    A thread that hardly helps is better left to the process that serves HTTP; and where cores are shared, every thread
    more is one that the others wait for at each of a step's hundreds of barriers.
    """
    choices = sorted({cores, *(1 << n for n in range(cores.bit_length()) if 1 << n <= cores)})
    seconds = {threads: seconds_per_token(threads) for threads in choices}
    fastest = min(seconds.values())
    return next(threads for threads in choices if seconds[threads] <= 1.2 * fastest)


def physical_cores() -> int:
    """Return the cores that this process may use; hyper-threads of one core count once where the system tells."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    siblings = set()
    for cpu in usable:
        try:
            siblings.add(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text())
        except OSError:
            return len(usable)
    return len(siblings)


def free_memory() -> int:
    """Return the bytes of RAM that programs can still have."""
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    if found:
        return int(found[1]) * 1024
    # macOS tells no such figure without a library: half of what is built in is a guess that leaves room.
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2

"""Memory bandwidth of this machine, and the limit that it sets on the throughput of one stream.

Every token of a single stream reads the weights once, so bytes per second over bytes per token bound its rate: the
memory roof of the roofline model (Williams, Waterman, Patterson, "Roofline", CACM 2009).
"""

import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np

from localrouter.bench.results.measure import LIMIT, Measure
from localrouter.gguf.header import GgufHeader
from localrouter.memory.machine import ram
from localrouter.memory.shape import shape_of_headers

ROUNDS = 5
_LEAST = 1 << 30
_TIMES_THE_CACHES = 4
_SHARE_OF_FREE = 4
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def limit_of(headers: Sequence[GgufHeader], cores: int, size: int | None = None) -> tuple[Measure, bool]:
    """Return the bandwidth limit of one stream in tokens per second, and whether it binds.

    The limit does not bind where the CPU caches hold all weights that a token reads.
    """
    read, caches = bytes_per_token(headers), cache_bytes()
    speed = bandwidth(cores, size or _enough(caches))
    binding = read > caches
    meaning = (
        f"limit of one stream, tokens per second: {read / 1e6:,.0f} MB of weights read per token, "
        f"at {speed / 1e9:.1f} GB per second"
    )
    meaning += "" if binding else f"; not binding: the weights fit into caches of {caches / 1e6:,.0f} MB"
    return Measure("bandwidth", meaning, samples={LIMIT: [speed / read]}), binding


def bandwidth(cores: int, size: int) -> float:
    """Return the memory bandwidth in bytes per second: `cores` threads read `size` bytes together, median of rounds."""
    parts = np.array_split(np.ones(size // 8, np.uint64), cores)
    seconds = []
    with ThreadPoolExecutor(cores) as pool:
        for _ in range(ROUNDS):
            start = time.perf_counter()
            for _ in pool.map(np.max, parts):  # releases the GIL, and is limited by memory alone
                pass
            seconds.append(time.perf_counter() - start)
    return sum(part.nbytes for part in parts) / median(seconds)


def bytes_per_token(headers: Sequence[GgufHeader]) -> int:
    """Return the bytes of weights read per token of one stream, from the headers of all parts of a model.

    All layers and the output layer are read; of the experts, only those active per token. The embedding table counts
    only where it is the output layer too, because otherwise one row of it is read.
    """
    shape = shape_of_headers(headers)
    everything = shape.weights - shape.embedding + shape.tied
    count, used = (_number(headers[0], key) for key in ("expert_count", "expert_used_count"))
    if not 0 < used < count:
        return everything
    tensors = [tensor for header in headers for tensor in header.tensors if "_exps." in tensor.name]
    experts = sum(tensor.size for tensor in tensors if tensor.layer is not None and tensor.layer < len(shape.layers))
    return everything - experts + experts * used // count


def cache_bytes(root: Path = Path("/sys/devices/system/cpu")) -> int:
    """Return the total bytes of the largest CPU cache level of this machine; 0 where Linux does not report it."""
    levels: dict[int, dict[str, int]] = {}
    for folder in root.glob("cpu[0-9]*/cache/index*"):
        try:
            level = int((folder / "level").read_text())
            shared, size = (folder / "shared_cpu_list").read_text(), (folder / "size").read_text().strip()
        except (OSError, ValueError):
            continue
        if found := re.fullmatch(r"(\d+)([KMG]?)", size):
            levels.setdefault(level, {})[shared] = int(found[1]) * _UNITS[found[2]]
    return max((sum(pieces.values()) for pieces in levels.values()), default=0)


def _enough(caches: int) -> int:
    return min(max(_LEAST, _TIMES_THE_CACHES * caches), ram()[0] // _SHARE_OF_FREE)


def _number(header: GgufHeader, key: str) -> int:
    value = header.metadata.get(f"{header.architecture}.{key}")
    return value if isinstance(value, int) else 0

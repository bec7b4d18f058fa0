"""How fast the cores of this machine read memory, and what that means for a model: the most that one stream can have.

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
    """Return the most tokens per second of one stream, and whether that bounds anything: not if the caches hold all."""
    read, caches = bytes_per_token(headers), cache_bytes()
    speed = bandwidth(cores, size or _enough(caches))
    binding = read > caches
    meaning = (
        f"most tokens per second of one stream: {read / 1e6:,.0f} MB of weights are read for each, "
        f"{speed / 1e9:.1f} GB per second can be"
    )
    meaning += "" if binding else f"; no bound here, where caches of {caches / 1e6:,.0f} MB hold them"
    return Measure("bandwidth", meaning, samples={LIMIT: [speed / read]}), binding


def bandwidth(cores: int, size: int) -> float:
    """Return the bytes per second that so many threads read together of an array of `size` bytes, the median round."""
    parts = np.array_split(np.ones(size // 8, np.uint64), cores)
    seconds = []
    with ThreadPoolExecutor(cores) as pool:
        for _ in range(ROUNDS):
            start = time.perf_counter()
            for _ in pool.map(np.max, parts):  # which lets go of the interpreter's lock, and waits for memory alone
                pass
            seconds.append(time.perf_counter() - start)
    return sum(part.nbytes for part in parts) / median(seconds)


def bytes_per_token(headers: Sequence[GgufHeader]) -> int:
    """Return the bytes of weights that one token of one stream reads, by the headers of all parts of a model.

    These are all layers and the output; of the experts only as many as work on a token. Of the table of embeddings one
    row is looked up, unless it is the output layer too.
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
    """Return the bytes of the largest kind of cache of this machine, all of its pieces; 0 where Linux does not say."""
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

"""The sampler by itself: microseconds for one token out of a large vocabulary."""

import random
import time
from statistics import median

import numpy as np

from localrouter.engine.messages import Sampling
from localrouter.engine.sampling import Sampler

VOCABULARY = 151936
KINDS = {
    "temperature 1": Sampling(temperature=1.0),
    "temperature 1, top_p 0.95": Sampling(temperature=1.0, top_p=0.95),
}


def draw_times(draws: int = 200) -> dict[str, float]:
    """Return the median microseconds of a draw, for each of KINDS."""
    logits = np.random.default_rng(0).standard_normal(VOCABULARY, dtype=np.float32) * np.float32(3)
    sampler, source = Sampler(VOCABULARY), random.Random(0)
    return {kind: _median_microseconds(sampler, logits, how, source, draws) for kind, how in KINDS.items()}


def _median_microseconds(
    sampler: Sampler, logits: np.typing.NDArray[np.float32], how: Sampling, source: random.Random, draws: int
) -> float:
    seconds = []
    for _ in range(draws):
        start = time.perf_counter()
        sampler.draw(logits, how, source)
        seconds.append(time.perf_counter() - start)
    return 1e6 * median(seconds)

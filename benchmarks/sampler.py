"""Speed of the sampler: microseconds per sampled token of a large vocabulary."""

import time
from statistics import median

import numpy as np
from numpy.typing import NDArray

from localrouter.bench.results.measure import OURS, Measure
from localrouter.bench.run_progress import RunProgress
from localrouter.engine.backends.llama.exp_kernel import fastest_exponential
from localrouter.engine.generation_request import Sampling
from localrouter.engine.sampling.penalties import Penalties
from localrouter.engine.sampling.sampler import Sampler, rng_of

VOCABULARY = 151936
ANSWER = 1000
"""Generated tokens that the penalties take into account."""
KINDS = {
    "temperature 1": Sampling(temperature=1.0),
    "temperature 0.7": Sampling(temperature=0.7),
    "temperature 1, top_p 0.95": Sampling(temperature=1.0, top_p=0.95),
    "temperature 0.6, top_k 20, top_p 0.95": Sampling(temperature=0.6, top_k=20, top_p=0.95),
    "temperature 1, min_p 0.05": Sampling(temperature=1.0, min_p=0.05),
    f"temperature 0.7, penalties for {ANSWER} tokens, 20 logprobs": Sampling(
        temperature=0.7, presence_penalty=0.5, frequency_penalty=0.5, repeat_penalty=1.1, logprobs=20
    ),
}


def measures(progress: RunProgress) -> list[Measure]:
    """Return a measure for each of KINDS, in microseconds."""
    progress.say("sampler")
    return [
        Measure(
            "sampler", f"{kind}, microseconds for one token", higher_is_better=False, samples={OURS: [microseconds]}
        )
        for kind, microseconds in sampling_times().items()
    ]


def sampling_times(samples: int = 200) -> dict[str, float]:
    """Return the median microseconds of sampling a token, for each of KINDS."""
    generator = np.random.default_rng(0)
    logits = generator.standard_normal(VOCABULARY, dtype=np.float32) * np.float32(3)
    output = generator.choice(VOCABULARY, ANSWER, replace=False).tolist()
    return {kind: _median_microseconds(logits, how, output, samples) for kind, how in KINDS.items()}


def _median_microseconds(logits: NDArray[np.float32], how: Sampling, output: list[int], samples: int) -> float:
    """Return the median microseconds per token; each sampled token is added to the output, as in a generation."""
    sampler, rng, tokens = Sampler(len(logits), fastest_exponential()), rng_of(0), [0]
    penalties = Penalties(how, tokens)
    tokens += output
    seconds = []
    for _ in range(samples):
        start = time.perf_counter()
        sampled_token = sampler.sample(logits, how, rng, penalties)
        seconds.append(time.perf_counter() - start)
        tokens.append(sampled_token.token)
    return 1e6 * median(seconds)

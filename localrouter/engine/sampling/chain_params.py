"""Sampling parameters that a backend's sampler chain (on a GPU) applies with the same result as `sampler.py`; pure."""

from typing import NamedTuple

import msgspec

from localrouter.engine.generation_request import Sampling

MAX_TOP_K = 1024
"""Largest `top_k` of a sampler chain. Backends add up probabilities in float32: over a whole vocabulary the running sum
would round the unlikely ones away."""
MIN_TEMPERATURE = 0.01
"""Smallest temperature of a sampler chain; logits divided by a smaller one may overflow float32."""


class ChainParams(NamedTuple):
    """Parameters of a sampler chain: temperature, then `top_k`, `min_p`, `top_p`, then one token is sampled.

    A temperature of 0 takes the likeliest token, and the other fields are ignored.
    """

    temperature: float
    top_k: int = 1
    min_p: float = 0.0
    top_p: float = 1.0


GREEDY = ChainParams(0.0)


def chain_params_of(sampling: Sampling) -> ChainParams | None:
    """Return the parameters of a sampler chain that samples as these fields say; None where no chain can.

    No chain serves a seed, whose output has to be the same on every backend, log probabilities, penalties or biases,
    which need all logits, and outputs that may not end yet, for a change of the chain costs more than it saves.
    """
    is_greedy = sampling.temperature == 0 or sampling.top_k == 1 or sampling.top_p == 0
    chain_only = Sampling(sampling.temperature, sampling.top_p, top_k=sampling.top_k, min_p=sampling.min_p)
    seed = sampling.seed if is_greedy else None
    if sampling != msgspec.structs.replace(chain_only, seed=seed, stop=sampling.stop, stop_tokens=sampling.stop_tokens):
        return None
    if is_greedy:
        return GREEDY
    # Chains keep tokens strictly above the limit of min_p: at 1 they would keep none.
    if not 0 < sampling.top_k <= MAX_TOP_K or sampling.min_p >= 1 or sampling.temperature < MIN_TEMPERATURE:
        return None
    return ChainParams(sampling.temperature, sampling.top_k, sampling.min_p, sampling.top_p)

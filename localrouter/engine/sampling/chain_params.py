"""Draws that a backend may make by itself, because they come out as `sampling` would have them; pure."""

from typing import NamedTuple

import msgspec

from localrouter.engine.messages import Sampling

MOST = 1024
"""Tokens that are left to draw from, at most. Backends add up probabilities in float32: over a whole vocabulary their
running sum would round away the unlikely ones."""
COLDEST = 0.01
"""Temperatures below divide logits into what float32 cannot hold."""


class ChainParams(NamedTuple):
    """Divide by the temperature, keep the `top_k` likeliest, of these what `min_p` keeps, of these the nucleus; draw.

    A temperature of 0 takes the likeliest token, and then the rest is of no account.
    """

    temperature: float
    top_k: int = 1
    min_p: float = 0.0
    top_p: float = 1.0


GREEDY = ChainParams(0.0)


def chain_params_of(sampling: Sampling) -> ChainParams | None:
    """Return what these fields amount to where that is a recipe.

    It is none with a seed, which has to say the same on every backend, with log probabilities, and with penalties or
    biases, which need all logits.
    """
    is_greedy = sampling.temperature == 0 or sampling.top_k == 1 or sampling.top_p == 0
    drawn_by = Sampling(sampling.temperature, sampling.top_p, top_k=sampling.top_k, min_p=sampling.min_p)
    seed = sampling.seed if is_greedy else None
    if sampling != msgspec.structs.replace(drawn_by, seed=seed, stop=sampling.stop):
        return None
    if is_greedy:
        return GREEDY
    # What is above the bound of min_p is kept, which at 1 is nothing; and by a tiny temperature nothing can be divided.
    if not 0 < sampling.top_k <= MOST or sampling.min_p >= 1 or sampling.temperature < COLDEST:
        return None
    return ChainParams(sampling.temperature, sampling.top_k, sampling.min_p, sampling.top_p)

"""Sampler chains of llama.cpp, which sample on the device that holds the logits, so that these need not be copied.

A sequence id has a sampler chain, or none. With llama.cpp 0c1e570 every change makes it plan its graph again (0.1 s
with 32 rows on a CPU), so a chain stays for the next request in the slot. The tokens that the chain keeps are copied
with their probabilities; without a top_k that would be the whole vocabulary, twice.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import llama_cpp.llama_cpp as api
import numpy as np

from localrouter.engine.backends.base import Logits
from localrouter.engine.sampling.chain_params import GREEDY, ChainParams
from localrouter.engine.sampling.sampler import NotFinite
from localrouter.engine.scheduling.batch import Batch

_STEPS = 4
"""Steps that are timed, of which the fastest counts; the first one plans the graph."""
_GAIN = 0.95
"""Most time that steps with chains may take, as a share of the time without them."""


class SamplerChains:
    """Sampler chains of one context."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._held: dict[int, tuple[ChainParams, Any]] = {}
        """Parameters and chain by sequence id; a chain has to live as long as it is set."""
        self._sampled_rows: list[int | None] = []
        """Row of each output of the last batch, None for those without a chain."""

    def prepare(self, batch: Batch, chain_params_of_slots: Sequence[ChainParams | None]) -> None:
        """Set the chains for the next decode of this batch; the parameters are those of its outputs."""
        self._sampled_rows = [
            row if self._set(batch.slots[row], chain_params) else None
            for row, chain_params in zip(batch.outputs, chain_params_of_slots, strict=True)
        ]

    def token(self, output: int) -> int | None:
        """Return the token sampled for an output of the last batch, None without a chain. Raises NotFinite."""
        row = self._sampled_rows[output]
        if row is None:
            return None
        count = api.llama_get_sampled_logits_count_ith(self._context, row)
        logits = np.ctypeslib.as_array(api.llama_get_sampled_logits_ith(self._context, row), shape=(count,))
        if not np.isfinite(logits.max()):
            raise NotFinite
        return int(api.llama_get_sampled_token_ith(self._context, row))

    def close(self) -> None:
        """Free all chains."""
        for slot in list(self._held):
            self._set(slot, None)

    def _set(self, slot: int, chain_params: ChainParams | None) -> bool:
        """Set the chain of a sequence id to one with these parameters; return whether it has a chain."""
        held, old = self._held.get(slot, (None, None))
        if held == chain_params:
            return chain_params is not None
        chain = None if chain_params is None else _chain(chain_params)
        is_set = bool(api.llama_set_sampler(self._context, slot, chain)) and chain_params is not None
        if old is not None:
            api.llama_sampler_free(old)
            del self._held[slot]
        if is_set and chain_params is not None:
            self._held[slot] = chain_params, chain
        elif chain is not None:
            api.llama_sampler_free(chain)
        return is_set


def sample_faster(
    chains: SamplerChains, decode: Callable[[Batch, Sequence[ChainParams | None]], Logits], rows: int
) -> bool:
    """Whether chains sample the largest logit of each row, and steps of so many rows take less time with chains.

    `decode` computes a batch, all of whose rows are outputs. The slots 0 to `rows` are used, and not cleared.
    """
    seconds: dict[ChainParams | None, float] = {}
    tokens: dict[ChainParams | None, list[int | None]] = {}
    for chain_params in (None, GREEDY):
        for position in range(_STEPS):
            slots = list(range(rows))
            batch = Batch(tokens=slots, positions=[position] * rows, slots=slots, outputs=slots)
            begin = time.perf_counter()
            logits = decode(batch, [chain_params] * rows)
            tokens[chain_params] = [chains.token(row) if chain_params else int(logits[row].argmax()) for row in slots]
            took = time.perf_counter() - begin
            seconds[chain_params] = min(seconds.get(chain_params, took), took)
    return tokens[None] == tokens[GREEDY] and seconds[GREEDY] <= _GAIN * seconds[None]


def _chain(chain_params: ChainParams) -> Any:
    """Return a sampler chain in the order of `ChainParams`, with a fresh random seed."""
    chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
    samplers = []
    if chain_params.temperature > 0:
        samplers.append(api.llama_sampler_init_top_k(chain_params.top_k))
    samplers.append(api.llama_sampler_init_temp(chain_params.temperature))  # 0 keeps the likeliest token only
    if chain_params.min_p > 0:
        samplers.append(api.llama_sampler_init_min_p(chain_params.min_p, 1))
    if chain_params.top_p < 1:
        samplers.append(api.llama_sampler_init_top_p(chain_params.top_p, 1))
    samplers.append(api.llama_sampler_init_dist(int(np.random.default_rng().integers(2**32 - 1))))
    for sampler in samplers:
        api.llama_sampler_chain_add(chain, sampler)
    return chain

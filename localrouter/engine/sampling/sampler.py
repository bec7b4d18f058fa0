"""Samples the next token from the model's distribution: exact over the whole vocabulary, without sorting it.

The order of the steps is fixed:

1. Penalties and bias change the logits (`penalties.py`): they are defined on the model's own logits.
2. The temperature divides them. Every later step acts on the probabilities that tokens are sampled with, so a `top_p`
   of 0.9 is nine tenths of them and a `min_p` of 0.1 a tenth of the likeliest, whatever the temperature.
3. `top_k` keeps the tokens with fewer than k strictly likelier ones.
4. `min_p` keeps the tokens at least `min_p` times as likely as the likeliest.
5. `top_p` keeps the nucleus of what is left: the tokens for which the mass of all strictly likelier ones is below
   `top_p` of the mass that steps 3 and 4 kept (Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration").

Where a grammar allows some tokens only, all others have probability 0 from step 2 on. If it allows a single token, this
token is taken, and no random number is used. Tokens that must not come next (the end tokens of an output that may not
end yet) have probability 0 too, unless all others have: a complete structured output ends all the same.

Steps 3 and 4 do not depend on each other's result nor on the sum of the probabilities, so their order does not matter
and they are cheap. `top_p` depends on both, and comes last so that it is a share of the tokens that are left. Tokens of
equal probability are kept or dropped together: `top_k` may keep more than k. Only greedy sampling (temperature 0,
`top_k` 1, `top_p` 0) chooses among them, and takes the first.

Log probabilities are the model's own, before all of these steps.
"""

import math
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from localrouter.engine.generation_request import Sampling
from localrouter.engine.sampling.distribution import (
    Distribution,
    Exponential,
    exponential,
    nucleus,
    sample_index,
    tempered,
)
from localrouter.engine.sampling.penalties import Penalties
from localrouter.engine.sampling.ranking import Ranking

Allowed: TypeAlias = int | NDArray[np.uint8] | None
"""Tokens that may be sampled: a single one, those with a bit set (the lowest bit of a byte first), or None for all."""
_BYTES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
_LOGITS = np.where(_BYTES, np.float32(0), np.float32(-np.inf))
"""Numbers added to the logits of eight tokens, for each byte of bits."""


class CannotSample(Exception):
    """No token can be sampled; `code` is a stable word for the reason."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class NotFinite(CannotSample):
    """A row of logits has a NaN, or its largest logit is not finite."""

    def __init__(self) -> None:
        super().__init__("The model computed numbers that are not finite.", "not_finite")


class SampledToken(NamedTuple):
    """A sampled token, with log probabilities where the request asks for them."""

    token: int
    logprob: float | None = None
    """Natural logarithm of the token's probability; None where the request does not ask for it."""
    top: tuple[tuple[int, float], ...] = ()
    """Likeliest tokens and their log probabilities, likeliest first: as many as requested, without those of
    probability 0."""


class Sampler:
    """Samples tokens of one vocabulary, with scratch space; for one thread at a time."""

    def __init__(self, vocabulary: int, exp: Exponential = exponential) -> None:
        """`exp` should be the fastest available: exponentials take most of the time."""
        self._distribution = Distribution(vocabulary, exp)
        self._processed = np.empty(vocabulary, np.float32)
        self._mask = np.empty((-(-vocabulary // 8), 8), np.float32)

    def sample(
        self,
        row: NDArray[np.float32],
        sampling: Sampling,
        rng: np.random.Generator,
        penalties: Penalties | None = None,
        allowed: Allowed = None,
        *,
        banned: NDArray[np.intp] | None = None,
    ) -> SampledToken:
        """Return a token sampled from one row of logits, which is not changed.

        `penalties` are those of `sampling`, with its logit bias; None: neither. `banned` tokens are sampled only where
        no other can be. Raises CannotSample, also for a row with a NaN anywhere, unless a single token is allowed.
        """
        if isinstance(allowed, int):
            token = allowed
        else:
            processed = row if penalties is None else penalties.apply(row, self._processed)
            if allowed is not None:
                processed = self._restrict(processed, allowed)
            if banned is not None:
                processed = self._without(processed, banned)
            try:
                token = self._token(processed, sampling, rng)
            except NotFinite:
                if allowed is None or not np.isfinite(row.max()):
                    raise
                raise CannotSample("The model finds impossible what the grammar allows.", "grammar_dead_end") from None
        return SampledToken(token) if sampling.logprobs is None else self.describe(row, token, sampling.logprobs)

    def _restrict(self, row: NDArray[np.float32], allowed: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the row with -inf for all tokens that are not allowed, and NaN where it has NaN.

        The mask is added, which takes the same time however many tokens are allowed, and wherever they are.
        """
        np.take(_LOGITS, allowed[: len(self._mask)], axis=0, out=self._mask, mode="clip")
        return np.add(row, self._mask.reshape(-1)[: len(row)], out=self._processed)

    def _without(self, row: NDArray[np.float32], banned: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the row with -inf for the banned tokens, or as it is where no other token is possible."""
        if row is not self._processed:
            np.copyto(self._processed, row)
        logits = self._processed[banned]
        self._processed[banned] = -np.inf
        if self._processed.max() == -np.inf:
            self._processed[banned] = logits
        return self._processed

    def _token(self, row: NDArray[np.float32], sampling: Sampling, rng: np.random.Generator) -> int:
        if sampling.temperature == 0 or sampling.top_k == 1 or sampling.top_p == 0:
            best = int(row.argmax())  # the index of a NaN, if there is one
            _finite(row[best])
            return best
        if sampling.top_k <= 0 and sampling.min_p <= 0:
            self._fill(row, sampling.temperature)
            return self._distribution.sample_nucleus(sampling.top_p, rng)
        ranking = Ranking(row)
        highest = _finite(ranking.highest)
        threshold = _threshold(ranking, len(row), sampling)
        tokens = ranking.reaching(threshold)
        if tokens is not None:
            return _sample_among(tokens, row, highest, sampling, rng)
        self._fill(row, sampling.temperature, kept=row >= threshold)
        return self._distribution.sample_nucleus(sampling.top_p, rng)

    def _fill(self, row: NDArray[np.float32], temperature: float, kept: NDArray[np.bool_] | None = None) -> None:
        if not self._distribution.fill(row, temperature, kept):
            raise NotFinite

    def describe(self, row: NDArray[np.float32], token: int, count: int) -> SampledToken:
        """Return a token with its log probability in a row of logits, and those of the `count` likeliest tokens.

        They are limited to 0, which rounding may exceed for a certain token. Raises NotFinite.
        """
        total = self._distribution.log_total(row)
        if not math.isfinite(total):
            raise NotFinite
        likeliest = Ranking(row).largest(count)
        logprobs = np.minimum(row[likeliest].astype(np.float64) - total, 0).tolist()
        possible = (each for each in zip(likeliest.tolist(), logprobs, strict=True) if each[1] > -math.inf)
        return SampledToken(token, min(float(row[token]) - total, 0.0), tuple(possible))


def rank_of(row: NDArray[np.float32], token: int) -> int:
    """Return the rank of a token in a row of logits: 1 for the likeliest, one more for each likelier token."""
    return 1 + int(np.count_nonzero(row > row[token]))


def rng_of(seed: int | None) -> np.random.Generator:
    """Return the random number generator of a seed, which may be negative; None: one with a fresh state."""
    return np.random.Generator(np.random.SFC64(None if seed is None else seed % 2**64))


def _finite(highest: np.float32) -> np.float32:
    if not np.isfinite(highest):
        raise NotFinite
    return highest


def _threshold(ranking: Ranking, vocabulary: int, sampling: Sampling) -> np.float32:
    """Return the smallest logit that `top_k` and `min_p` keep; -inf when they keep all."""
    threshold = np.float32(-np.inf)
    if 0 < sampling.top_k < vocabulary:
        threshold = ranking.kth(sampling.top_k)
    if sampling.min_p > 0:
        lowest = float(ranking.highest) + sampling.temperature * math.log(sampling.min_p)
        threshold = max(threshold, np.float32(lowest))
    return threshold


def _sample_among(
    tokens: NDArray[np.intp],
    row: NDArray[np.float32],
    highest: np.float32,
    sampling: Sampling,
    rng: np.random.Generator,
) -> int:
    """Return a token sampled from the nucleus of a few tokens."""
    weights = np.exp(tempered(row[tokens], highest, sampling.temperature))
    if sampling.top_p < 1:
        weights = nucleus(weights, sampling.top_p * float(weights.sum(dtype=np.float64)))
    return int(tokens[sample_index(weights, rng)])

"""Draws the next token from the model's own distribution: exact over the whole vocabulary, without sorting it.

There is one order, whatever is asked for:

1. Penalties and bias change the logits (`adjustment.py`): they are defined on what the model says.
2. The temperature divides them. Everything after this acts on the probabilities that are really drawn from, so a
   `top_p` of 0.9 is nine tenths of them and a `min_p` of 0.1 a tenth of the likeliest, whatever the temperature.
3. `top_k` keeps the tokens with fewer than k strictly likelier ones.
4. `min_p` keeps the tokens at least `min_p` times as likely as the likeliest.
5. `top_p` keeps the nucleus of what is left: the tokens for which the mass of all strictly likelier ones is below
   `top_p` of the mass that steps 3 and 4 kept (Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration").

Where a grammar allows some tokens only, all others have probability 0 from the temperature on: everything acts on what
is left. A token that alone may come is taken as it is, and no randomness is spent on it.

Steps 3 and 4 do not depend on each other's outcome nor on what the probabilities sum up to, so their order is of no
account and they are cheap; `top_p` does, and comes last so that it means a share of what can still be drawn. Tokens of
equal probability are in or out together, so no order among them is invented: `top_k` may keep more than k. Only what is
greedy (temperature 0, `top_k` 1, `top_p` 0) has to choose, and takes the first.

Log probabilities are the model's own, before all of these steps.
"""

import math
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from localrouter.engine.messages import Sampling
from localrouter.engine.sampling.distribution import Distribution, Exponential, exponential, nucleus, pick, tempered
from localrouter.engine.sampling.penalties import Penalties
from localrouter.engine.sampling.ranking import Ranking

Allowed: TypeAlias = int | NDArray[np.uint8] | None
"""What may be drawn: one token alone, those with a bit (the lowest of a byte first), or all."""
_BYTES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
_LOGITS = np.where(_BYTES, np.float32(0), np.float32(-np.inf))
"""For each byte of bits what is added to the logits of its eight tokens."""


class CannotSample(Exception):
    """No token can be drawn; `code` is the stable word for why."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class NotFinite(CannotSample):
    """A row of logits has no largest finite value: the model computed nonsense."""

    def __init__(self) -> None:
        super().__init__("The model computed numbers that are not finite.", "not_finite")


class SampledToken(NamedTuple):
    """A token that was drawn, and what was asked to know about it."""

    token: int
    logprob: float | None = None
    """The natural logarithm of its probability; None where the request did not ask."""
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens with theirs, the likeliest first: as many as asked for, less those of probability 0."""


class Sampler:
    """Scratch space for one vocabulary; not to be used by two threads at once."""

    def __init__(self, vocabulary: int, exp: Exponential = exponential) -> None:
        """`exp` is the fastest that there is; of all that a draw takes it takes longest."""
        self._distribution = Distribution(vocabulary, exp)
        self._adjusted = np.empty(vocabulary, np.float32)
        self._penalties = np.empty((-(-vocabulary // 8), 8), np.float32)

    def sample(
        self,
        row: NDArray[np.float32],
        sampling: Sampling,
        source: np.random.Generator,
        penalties: Penalties | None = None,
        allowed: Allowed = None,
    ) -> SampledToken:
        """Return what is drawn from one row of logits, which is left as it is.

        `adjustment` holds the penalties and the bias of `sampling`; None stands for neither. Raises Undrawable, for a
        row with a NaN anywhere too where there is a choice.
        """
        if isinstance(allowed, int):
            token = allowed
        else:
            adjusted = row if penalties is None else penalties.apply(row, self._adjusted)
            if allowed is not None:
                adjusted = self._restrict(adjusted, allowed)
            try:
                token = self._token(adjusted, sampling, source)
            except NotFinite:
                if allowed is None or not np.isfinite(row.max()):
                    raise
                raise CannotSample("The model finds impossible what the grammar allows.", "grammar_dead_end") from None
        return SampledToken(token) if sampling.logprobs is None else self._describe(row, token, sampling.logprobs)

    def _restrict(self, row: NDArray[np.float32], allowed: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the row with -inf for all that is not allowed. A sum, so that a NaN anywhere is still seen.

        The time it takes is the same however many are allowed, and where they stand.
        """
        np.take(_LOGITS, allowed[: len(self._penalties)], axis=0, out=self._penalties, mode="clip")
        return np.add(row, self._penalties.reshape(-1)[: len(row)], out=self._adjusted)

    def _token(self, row: NDArray[np.float32], sampling: Sampling, source: np.random.Generator) -> int:
        if sampling.temperature == 0 or sampling.top_k == 1 or sampling.top_p == 0:
            best = int(row.argmax())  # a NaN's, if there is one
            _finite(row[best])
            return best
        if sampling.top_k <= 0 and sampling.min_p <= 0:
            self._fill(row, sampling.temperature)
            return self._distribution.pick_from_nucleus(sampling.top_p, source)
        ranking = Ranking(row)
        highest = _finite(ranking.highest)
        threshold = _threshold(ranking, len(row), sampling)
        tokens = ranking.reaching(threshold)
        if tokens is not None:
            return _pick_among(tokens, row, highest, sampling, source)
        self._fill(row, sampling.temperature, kept=row >= threshold)
        return self._distribution.pick_from_nucleus(sampling.top_p, source)

    def _fill(self, row: NDArray[np.float32], temperature: float, kept: NDArray[np.bool_] | None = None) -> None:
        if not self._distribution.fill(row, temperature, kept):
            raise NotFinite

    def _describe(self, row: NDArray[np.float32], token: int, count: int) -> SampledToken:
        """Add the log probabilities; none above 0, which rounding could make of a certain token."""
        total = self._distribution.log_total(row)
        if not math.isfinite(total):
            raise NotFinite
        likeliest = Ranking(row).largest(count)
        logprobs = np.minimum(row[likeliest].astype(np.float64) - total, 0).tolist()
        possible = (each for each in zip(likeliest.tolist(), logprobs, strict=True) if each[1] > -math.inf)
        return SampledToken(token, min(float(row[token]) - total, 0.0), tuple(possible))


def rng_of(seed: int | None) -> np.random.Generator:
    """Return the randomness of a seed, which may be negative; without one it is never the same."""
    return np.random.Generator(np.random.SFC64(None if seed is None else seed % 2**64))


def _finite(highest: np.float32) -> np.float32:
    if not np.isfinite(highest):
        raise NotFinite
    return highest


def _threshold(ranking: Ranking, vocabulary: int, sampling: Sampling) -> np.float32:
    """Return the lowest logit that `top_k` and `min_p` keep; -inf when they keep all."""
    threshold = np.float32(-np.inf)
    if 0 < sampling.top_k < vocabulary:
        threshold = ranking.kth(sampling.top_k)
    if sampling.min_p > 0:
        lowest = float(ranking.highest) + sampling.temperature * math.log(sampling.min_p)
        threshold = max(threshold, np.float32(lowest))
    return threshold


def _pick_among(
    tokens: NDArray[np.intp],
    row: NDArray[np.float32],
    highest: np.float32,
    sampling: Sampling,
    source: np.random.Generator,
) -> int:
    """Draw from the nucleus of a few tokens."""
    weights = np.exp(tempered(row[tokens], highest, sampling.temperature))
    if sampling.top_p < 1:
        weights = nucleus(weights, sampling.top_p * float(weights.sum(dtype=np.float64)))
    return int(tokens[pick(weights, source)])

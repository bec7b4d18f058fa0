"""Probability distribution over a vocabulary: filled from logits at memory speed, and sampled without sorting."""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from localrouter.engine.sampling.ranking import FEW

_COLUMNS = 128
_ONES = np.ones(_COLUMNS, np.float32)
_SOONEST = 1e-300
"""Smallest time on a clock of `sample_index`, in place of 0, which weights cannot be divided by."""
Exponential: TypeAlias = Callable[[NDArray[np.float32], NDArray[np.float32]], float]
"""Function that sets the second array to exp() of the first, which may be the same array, and returns their sum."""
_WARM = 0.5
"""Lowest temperature at which weights are first computed without subtracting the largest logit."""
_ORDINARY = (1e-4, 1e30)
"""Range of sums of weights that float32 holds without overflow, and with room for weights down to e^-67 of the
largest."""


def exponential(numbers: NDArray[np.float32], out: NDArray[np.float32]) -> float:
    """Set `out` to the exponentials of `numbers`, computed with numpy; return their sum."""
    return float(np.exp(numbers, out).sum(dtype=np.float64))


class Distribution:
    """Weights of all tokens of a vocabulary, with scratch space; for one thread at a time.

    The weights are stored as `_COLUMNS` rows of equal length. Summing the columns is a product with ones, at memory
    speed; a token is then sampled in two stages, a column by the column sums and a row in this column.
    """

    def __init__(self, vocabulary: int, exp: Exponential = exponential) -> None:
        self._exp = exp
        self._width = -(-vocabulary // _COLUMNS)
        padded = np.zeros(_COLUMNS * self._width, np.float32)
        self._grid = padded.reshape(_COLUMNS, self._width)
        self.weights = padded[:vocabulary]
        """Weight of each token, proportional to its probability."""
        self.likelier = np.empty(vocabulary, np.bool_)
        """Tokens that the last `mass_above` added up."""
        self._mask = np.empty(vocabulary, np.float32)
        self._sums = np.empty(self._width, np.float32)
        self.total = 0.0
        """Sum of all weights."""

    def fill(self, row: NDArray[np.float32], temperature: float, kept: NDArray[np.bool_] | None = None) -> bool:
        """Set the weights to exp(logit / temperature), up to a common factor; to 0 for tokens that are not `kept`.

        The likeliest token must be kept. Returns False, with no weights, when there is a NaN or the largest logit is
        not finite. The factor keeps weights from overflowing or vanishing; logits of ordinary size need none, which
        saves two passes over the vocabulary. The sum of the weights shows whether they are of ordinary size.
        """
        if temperature >= _WARM:
            inverse = np.float32(1 / temperature)
            scaled = row if temperature == 1 else np.multiply(row, inverse, out=self.weights)
            self._weigh(scaled, kept)
            if _ORDINARY[0] < self.total < _ORDINARY[1]:
                return True
        highest = row.max()
        if not np.isfinite(highest):
            return False
        self._weigh(tempered(row, highest, temperature, out=self.weights), kept)
        return True

    def _weigh(self, scaled: NDArray[np.float32], kept: NDArray[np.bool_] | None) -> None:
        with np.errstate(invalid="ignore", over="ignore"):  # where logits are not of ordinary size
            self.total = self._exp(scaled, self.weights)
            if kept is not None:
                np.multiply(self.weights, kept, out=self.weights)
            np.dot(_ONES, self._grid, out=self._sums)
        if kept is not None:
            self.total = float(self._sums.sum(dtype=np.float64))

    def log_total(self, row: NDArray[np.float32]) -> float:
        """Return the logarithm of the sum of exp(logit) over all tokens, NaN where a logit is NaN; weights stay."""
        with np.errstate(invalid="ignore", over="ignore"):
            total = self._exp(row, self._mask)
            if _ORDINARY[0] < total < _ORDINARY[1]:
                return math.log(total)
            highest = row.max()
            return float(highest) + math.log(self._exp(np.subtract(row, highest, out=self._mask), self._mask))

    def sample(self, rng: np.random.Generator) -> int:
        """Return a token with probability proportional to its weight."""
        column = sample_index(self._sums, rng)
        return sample_index(self._grid[:, column], rng) * self._width + column

    def sample_nucleus(self, top_p: float, rng: np.random.Generator) -> int:
        """Return a token of the nucleus, with probability proportional to its weight; 0 < top_p <= 1.

        Rejection sampling: sampling from all tokens until one is in the nucleus is exact. A rejected token shows that
        the nucleus is among the tokens likelier than itself: when these are few, one of them is sampled, which is as
        exact. Each try ends in one of the two with a probability of at least 1 / FEW, so that a tiny `top_p` takes few
        tries too.
        """
        if top_p >= 1:
            return self.sample(rng)
        allowed = top_p * self.total
        while self.mass_above(token := self.sample(rng)) >= allowed:
            if np.count_nonzero(self.likelier) <= len(self.weights) // FEW:
                tokens = np.flatnonzero(self.likelier)
                return int(tokens[sample_index(nucleus(self.weights[tokens], allowed), rng)])
        return token

    def mass_above(self, token: int) -> float:
        """Return the sum of the weights of all tokens strictly likelier than this one."""
        np.greater(self.weights, self.weights[token], out=self.likelier)
        np.copyto(self._mask, self.likelier)
        return float(self.weights.dot(self._mask))


def tempered(
    logits: NDArray[np.float32], highest: np.float32, temperature: float, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return (logit - highest) / temperature for each logit."""
    with np.errstate(over="ignore"):  # a tiny temperature sends all but the best to -inf, which is right
        out = np.subtract(logits, highest, out=out)
        return np.multiply(out, np.float32(min(1 / temperature, 3e38)), out=out)


def nucleus(weights: NDArray[np.float32], allowed: float) -> NDArray[np.float32]:
    """Return the weights, with 0 for those outside the nucleus: where all larger weights sum up to `allowed` or more.

    It sorts the weights, so it is for few of them.
    """
    ordered = np.sort(weights)[::-1]
    reached = int(np.searchsorted(ordered.cumsum(dtype=np.float64), allowed))
    return np.where(weights >= ordered[min(reached, len(ordered) - 1)], weights, np.float32(0))


def sample_index(weights: NDArray[np.float32], rng: np.random.Generator) -> int:
    """Return an index with probability proportional to its weight; never one of weight 0.

    Each index has a clock that rings after an exponentially distributed time, the sooner the greater its weight, and
    the first to ring wins (Gumbel 1954; Maddison et al. 2014, "A* Sampling"). With the same randomness, weights that
    rounding changed a little have another winner about as rarely as their probabilities differ. A search in cumulated
    weights would nearly always find another index, because a difference shifts all sums after it.
    """
    clocks = rng.standard_exponential(len(weights))
    return int(np.divide(weights, np.maximum(clocks, _SOONEST, out=clocks), out=clocks).argmax())

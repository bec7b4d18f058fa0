"""A distribution over a whole vocabulary: filled from logits at memory speed, drawn from without sorting it."""

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from localrouter.engine.sampling.ranking import FEW

_COLUMNS = 128
_ONES = np.ones(_COLUMNS, np.float32)
_SOONEST = 1e-300
"""What stands for a time of 0, which no weight could be divided by."""
Exponential: TypeAlias = Callable[[NDArray[np.float32], NDArray[np.float32]], float]
"""Sets the second array to e to the power of each number of the first, which may be the same; returns their sum."""
_WARM = 0.5
"""The lowest temperature at which logits are taken to be of ordinary size until it shows that they are not."""
_ORDINARY = (1e-4, 1e30)
"""Sums of weights that float32 (down to e^-103) holds together with a tail of e^-67 of the likeliest, and far from its
end."""


def exponential(numbers: NDArray[np.float32], out: NDArray[np.float32]) -> float:
    """Compute exponentials with numpy."""
    return float(np.exp(numbers, out).sum(dtype=np.float64))


class Distribution:
    """The weights of all tokens, and scratch space to work with them; one vocabulary, one thread at a time.

    They are held as `_COLUMNS` rows of equal length. Summing down the columns is a product with ones, at memory speed;
    a draw is then one among the column sums, and one in the column that it hits.
    """

    def __init__(self, vocabulary: int, exp: Exponential = exponential) -> None:
        self._exp = exp
        self._width = -(-vocabulary // _COLUMNS)
        padded = np.zeros(_COLUMNS * self._width, np.float32)
        self._grid = padded.reshape(_COLUMNS, self._width)
        self.weights = padded[:vocabulary]
        """Proportional to the probabilities."""
        self.likelier = np.empty(vocabulary, np.bool_)
        """Which tokens `mass_above` has added up."""
        self._mask = np.empty(vocabulary, np.float32)
        self._sums = np.empty(self._width, np.float32)
        self.total = 0.0
        """What all weights sum up to."""

    def fill(self, row: NDArray[np.float32], temperature: float, kept: NDArray[np.bool_] | None = None) -> bool:
        """Set the weights to exp(logit / temperature), up to a common factor; to 0 for tokens that are not `kept`.

        Returns False, with no weights, when there is a NaN or the largest logit is not finite. The likeliest token is
        kept. The factor only has to keep its weight from overflowing or vanishing; logits of ordinary size need none,
        which saves two passes over the vocabulary, and what the weights sum up to shows whether they are.
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
        with np.errstate(invalid="ignore", over="ignore"):  # of what is not of ordinary size
            self.total = self._exp(scaled, self.weights)
            if kept is not None:
                np.multiply(self.weights, kept, out=self.weights)
            np.dot(_ONES, self._grid, out=self._sums)
        if kept is not None:
            self.total = float(self._sums.sum(dtype=np.float64))

    def log_total(self, row: NDArray[np.float32]) -> float:
        """Return the logarithm of the sum of exp(logit) over all tokens; the weights stay. NaN where there is none."""
        with np.errstate(invalid="ignore", over="ignore"):
            total = self._exp(row, self._mask)
            if _ORDINARY[0] < total < _ORDINARY[1]:
                return math.log(total)
            highest = row.max()
            return float(highest) + math.log(self._exp(np.subtract(row, highest, out=self._mask), self._mask))

    def pick(self, source: np.random.Generator) -> int:
        """Return a token with probability proportional to its weight."""
        column = pick(self._sums, source)
        return pick(self._grid[:, column], source) * self._width + column

    def pick_from_nucleus(self, top_p: float, source: np.random.Generator) -> int:
        """Return a token of the nucleus; 0 < top_p <= 1.

        Drawing from all until a draw falls into the nucleus is exact. A draw outside shows that the nucleus lies among
        the tokens likelier than this one: when these are few the draw is made among them, which is as exact. They are
        at each try with a probability of at least 1 / FEW, so that a tiny `top_p` takes few tries too.
        """
        if top_p >= 1:
            return self.pick(source)
        allowed = top_p * self.total
        while self.mass_above(token := self.pick(source)) >= allowed:
            if np.count_nonzero(self.likelier) <= len(self.weights) // FEW:
                tokens = np.flatnonzero(self.likelier)
                return int(tokens[pick(nucleus(self.weights[tokens], allowed), source)])
        return token

    def mass_above(self, token: int) -> float:
        """Return what the weights of all tokens strictly likelier than this one sum up to."""
        np.greater(self.weights, self.weights[token], out=self.likelier)
        np.copyto(self._mask, self.likelier)
        return float(self.weights.dot(self._mask))


def tempered(
    logits: NDArray[np.float32], highest: np.float32, temperature: float, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return (logit - highest) / temperature."""
    with np.errstate(over="ignore"):  # a tiny temperature sends all but the best to -inf, which is right
        out = np.subtract(logits, highest, out=out)
        return np.multiply(out, np.float32(min(1 / temperature, 3e38)), out=out)


def nucleus(weights: NDArray[np.float32], allowed: float) -> NDArray[np.float32]:
    """Return the weights with 0 for those above which a mass of `allowed` or more lies. For a few: it sorts them."""
    ordered = np.sort(weights)[::-1]
    reached = int(np.searchsorted(ordered.cumsum(dtype=np.float64), allowed))
    return np.where(weights >= ordered[min(reached, len(ordered) - 1)], weights, np.float32(0))


def pick(weights: NDArray[np.float32], source: np.random.Generator) -> int:
    """Return an index with probability proportional to its weight; never one of weight 0.

    Each has a clock that rings after an exponentially distributed time, the sooner the greater its weight, and the
    first one wins (Gumbel 1954; Maddison et al. 2014, "A* Sampling"). With the same randomness, weights that rounding
    has changed a little have another winner about as rarely as their probabilities differ. A search in cumulated
    weights would have another one nearly always, for there each difference moves all that comes after it.
    """
    clocks = source.standard_exponential(len(weights))
    return int(np.divide(weights, np.maximum(clocks, _SOONEST, out=clocks), out=clocks).argmax())

"""A distribution over a whole vocabulary: filled from logits at memory speed, drawn from without sorting it."""

import math

import numpy as np
from numpy.typing import NDArray

from localrouter.engine.ranking import FEW

_COLUMNS = 128
_SOONEST = 1e-300
"""What stands for a time of 0, which no weight could be divided by."""
_ORDINARY = (-20, 60)
"""Highest logits for which float32 (e^-87 to e^88) holds the sum of a vocabulary, and its tail down to e^-67 of it."""


class Distribution:
    """The weights of all tokens, and scratch space to work with them; one vocabulary, one thread at a time.

    They are held as `_COLUMNS` rows of equal length. Summing down the columns is the one pass that numpy does at memory
    speed; a draw is then one among the column sums, and one in the column that it hits.
    """

    def __init__(self, vocabulary: int) -> None:
        self._width = -(-vocabulary // _COLUMNS)
        padded = np.zeros(_COLUMNS * self._width, np.float32)
        self._grid = padded.reshape(_COLUMNS, self._width)
        self.weights = padded[:vocabulary]
        """Proportional to the probabilities."""
        self.likelier = np.empty(vocabulary, np.bool_)
        """Which tokens `mass_above` has added up."""
        self._mask = np.empty(vocabulary, np.float32)
        self._sums = np.empty(self._width, np.float32)
        self._offset = 0.0

    def fill(
        self,
        row: NDArray[np.float32],
        highest: np.float32,
        temperature: float,
        kept: NDArray[np.bool_] | None = None,
    ) -> None:
        """Set the weights to exp(logit / temperature), up to a common factor; to 0 for tokens that are not `kept`.

        `highest` is the largest logit, and finite. The factor only has to keep the likeliest token's weight from
        overflowing or vanishing; logits of ordinary size need none, which saves a pass over the vocabulary.
        """
        if temperature > 0.1 and _ORDINARY[0] < float(highest) / temperature < _ORDINARY[1]:
            self._offset = 0.0
            np.exp(row if temperature == 1 else np.divide(row, temperature, out=self.weights), out=self.weights)
        else:
            self._offset = float(highest)
            temper(row, highest, temperature, out=self.weights)
        if kept is not None:
            np.multiply(self.weights, kept, out=self.weights)
        np.add.reduce(self._grid, axis=0, out=self._sums)

    @property
    def total(self) -> float:
        """What all weights sum up to."""
        return float(self._sums.sum(dtype=np.float64))

    @property
    def log_total(self) -> float:
        """The logarithm of the sum of exp(logit) over all tokens, of what was filled in at temperature 1."""
        return self._offset + math.log(self.total)

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


def temper(
    logits: NDArray[np.float32], highest: np.float32, temperature: float, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return exp((logit - highest) / temperature)."""
    with np.errstate(over="ignore"):  # a tiny temperature sends all but the best to -inf, which is right
        out = np.subtract(logits, highest, out=out)
        np.multiply(out, np.float32(min(1 / temperature, 3e38)), out=out)
    return np.exp(out, out=out)


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

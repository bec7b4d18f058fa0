"""Draws the next token from the model's own distribution: exact over the whole vocabulary, without sorting it.

The probabilities of a row are softmax(logits / temperature). With `top_p` below 1 the draw is from the nucleus: the
tokens t for which the mass of all strictly likelier tokens is below `top_p` (Holtzman et al. 2020, "The Curious Case of
Neural Text Degeneration"; tokens of equal probability are in or out together, so no order among them is invented).
"""

import random
from collections.abc import Sequence as Rows

import numpy as np
from numpy.typing import NDArray

from localrouter.engine.backend import Logits
from localrouter.engine.messages import Sampling

_COLUMNS = 128
_TRIES = 32
_ORDINARY = (-20, 60)
"""Highest logits for which float32 (e^-87 to e^88) holds the sum of a vocabulary, and its tail down to e^-67 of it."""


class NotFinite(Exception):
    """A row of logits has no largest finite value: the model computed nonsense."""


class Sampler:
    """Scratch space for one vocabulary; not to be used by two threads at once.

    The weights of the tokens are held as `_COLUMNS` rows of equal length. Summing down the columns is the one pass that
    numpy does at memory speed; a draw is then a search among column sums and one in the column that it hits.
    """

    def __init__(self, vocabulary: int) -> None:
        self._width = -(-vocabulary // _COLUMNS)
        padded = np.zeros(_COLUMNS * self._width, np.float32)
        self._grid = padded.reshape(_COLUMNS, self._width)
        self._weights = padded[:vocabulary]
        self._sums = np.empty(self._width, np.float32)
        self._likelier = np.empty(vocabulary, np.bool_)
        self._mask = np.empty(vocabulary, np.float32)

    def sample(self, logits: Logits, how: Rows[tuple[Sampling, random.Random]]) -> list[int | None]:
        """Return a token for each row of `logits`, shape (rows, vocabulary); None where a row is not finite."""
        tokens: list[int | None] = []
        for row, (sampling, draw) in zip(logits, how, strict=True):
            try:
                tokens.append(self.draw(row, sampling, draw))
            except NotFinite:
                tokens.append(None)
        return tokens

    def draw(self, row: NDArray[np.float32], sampling: Sampling, draw: random.Random) -> int:
        """Return one token drawn from one row of logits. Raises NotFinite."""
        best = int(row.argmax())
        highest = row[best]
        if not np.isfinite(highest):
            raise NotFinite
        if sampling.temperature == 0 or sampling.top_p == 0:
            return best
        self._weigh(row, highest, sampling.temperature)
        sums = self._sums.cumsum(dtype=np.float64)
        if sampling.top_p >= 1:
            return self._pick(sums, draw)
        return self._pick_from_nucleus(sums, sampling.top_p, draw)

    def _weigh(self, row: NDArray[np.float32], highest: np.float32, temperature: float) -> None:
        """Set the weights to exp(logit / temperature), up to a common factor, and the sums to those of the columns.

        The factor only has to keep the likeliest token's weight from overflowing or vanishing; logits of ordinary size
        need none, which saves a pass over the vocabulary.
        """
        if temperature == 1 and _ORDINARY[0] < highest < _ORDINARY[1]:
            np.exp(row, out=self._weights)
        else:
            np.subtract(row, highest, out=self._weights)
            with np.errstate(over="ignore"):  # a tiny temperature sends all but the best to -inf, which is right
                np.multiply(self._weights, np.float32(min(1 / temperature, 3e38)), out=self._weights)
            np.exp(self._weights, out=self._weights)
        np.add.reduce(self._grid, axis=0, out=self._sums)

    def _pick(self, sums: NDArray[np.float64], draw: random.Random) -> int:
        """Return a token with probability proportional to its weight."""
        column = _find(sums, draw.random())
        return int(_find(self._grid[:, column].cumsum(dtype=np.float64), draw.random())) * self._width + column

    def _pick_from_nucleus(self, sums: NDArray[np.float64], top_p: float, draw: random.Random) -> int:
        """Draw from all until a draw falls into the nucleus: exact, and 1 / top_p draws on average."""
        allowed = top_p * float(sums[-1])
        for _ in range(_TRIES):
            token = self._pick(sums, draw)
            np.greater(self._weights, self._weights[token], out=self._likelier)
            np.copyto(self._mask, self._likelier)
            if float(self._weights.dot(self._mask)) < allowed:
                return token
        return self._pick_from_sorted(allowed, draw)

    def _pick_from_sorted(self, allowed: float, draw: random.Random) -> int:
        """Draw from the nucleus by sorting, for a `top_p` so small that drawing from all hardly ever hits it."""
        ordered = np.sort(self._weights)[::-1]
        reached = int(np.searchsorted(ordered.cumsum(dtype=np.float64), allowed))
        nucleus = np.flatnonzero(self._weights >= ordered[min(reached, len(ordered) - 1)])
        return int(nucleus[_find(self._weights[nucleus].cumsum(dtype=np.float64), draw.random())])


def _find(cumulated: NDArray[np.float64], fraction: float) -> int:
    """Return the index whose share of the total the fraction (0 <= fraction < 1) falls into; never one of weight 0."""
    total = cumulated[-1]
    return int(np.searchsorted(cumulated, min(fraction * total, np.nextafter(total, 0)), side="right"))

"""The largest of very many numbers, found without sorting them and hardly looking at most."""

import numpy as np
from numpy.typing import NDArray

_ROWS = 128
FEW = 8
"""Up to one in so many of all numbers are a few."""


class Ranking:
    """The maxima of the columns of a row, laid out as `_ROWS` rows; what does not fill a column stands for itself.

    The maxima are the one pass over everything, and numpy makes it at memory speed. Large numbers are in columns with a
    large maximum, and these are few.
    """

    def __init__(self, row: NDArray[np.float32]) -> None:
        self._row = row
        self._width = len(row) // _ROWS
        self._grid = row[: self._width * _ROWS].reshape(_ROWS, self._width)
        self._maxima = np.concatenate([self._grid.max(axis=0), row[self._width * _ROWS :]])
        self.highest: np.float32 = self._maxima.max()
        """The largest number; NaN when there is a NaN anywhere, and then nothing else here can be asked for."""

    def kth(self, k: int) -> np.float32:
        """Return the k-th largest number, equal ones counted each; 1 <= k <= all of them.

        The k-th largest maximum of a column is a bound that at least k numbers reach, and not many more.
        """
        values = self._row
        if k <= len(self._maxima):
            reached = self.reaching(np.partition(self._maxima, -k)[-k])
            values = values if reached is None else values[reached]
        return np.float32(np.partition(values, -k)[-k])

    def reaching(self, threshold: np.float32) -> NDArray[np.intp] | None:
        """Return where the numbers of at least `threshold` stand, in ascending order; None when they are not few."""
        columns = np.flatnonzero(self._maxima >= threshold)
        if len(columns) > len(self._maxima) // FEW:
            reached = self._row >= threshold
            return np.flatnonzero(reached) if np.count_nonzero(reached) <= len(reached) // FEW else None
        whole = int(np.searchsorted(columns, self._width))
        down, across = np.nonzero(self._grid[:, columns[:whole]] >= threshold)
        alone = columns[whole:] + (_ROWS - 1) * self._width
        return np.concatenate([down * self._width + columns[across], alone])

    def largest(self, n: int) -> NDArray[np.intp]:
        """Return where the n largest stand, the largest first; of equal ones the first, so that exactly n come back.

        All of them when there are fewer than `n`.
        """
        n = min(n, len(self._row))
        if n == 0:
            return np.empty(0, np.intp)
        has_bound = n <= len(self._maxima)
        bound = np.partition(self._maxima, -n)[-n] if has_bound else np.float32(-np.inf)  # which at least n reach
        places = self.reaching(bound)
        if places is None:
            places = np.flatnonzero(self._row >= bound)
        return places[np.argsort(-self._row[places], kind="stable")[:n]]

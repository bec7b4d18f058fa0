"""Largest numbers of a long array, found without sorting it and with one pass over most of it."""

import numpy as np
from numpy.typing import NDArray

_ROWS = 128
FEW = 8
"""Numbers are few where they are at most one in `FEW` of all."""


class Ranking:
    """Ranking of an array's numbers by the maxima of its columns, with the array laid out as `_ROWS` rows.

    Numbers that do not fill a column are maxima of their own. Computing the maxima is the one pass over all numbers, at
    memory speed. Large numbers are in columns with a large maximum, and these are few.
    """

    def __init__(self, row: NDArray[np.float32]) -> None:
        self._row = row
        self._width = len(row) // _ROWS
        self._grid = row[: self._width * _ROWS].reshape(_ROWS, self._width)
        self._maxima = np.concatenate([self._grid.max(axis=0), row[self._width * _ROWS :]])
        self.highest: np.float32 = self._maxima.max()
        """The largest number; NaN when there is a NaN anywhere, and then the methods must not be called."""

    def kth(self, k: int) -> np.float32:
        """Return the k-th largest number, counting equal ones each; 1 <= k <= length of the array.

        The k-th largest maximum of a column is a threshold that at least k numbers reach, and not many more.
        """
        values = self._row
        if k <= len(self._maxima):
            reached = self.reaching(np.partition(self._maxima, -k)[-k])
            values = values if reached is None else values[reached]
        return np.float32(np.partition(values, -k)[-k])

    def reaching(self, threshold: np.float32) -> NDArray[np.intp] | None:
        """Return the indices of the numbers of at least `threshold`, ascending; None when they are not few."""
        columns = np.flatnonzero(self._maxima >= threshold)
        if len(columns) > len(self._maxima) // FEW:
            reached = self._row >= threshold
            return np.flatnonzero(reached) if np.count_nonzero(reached) <= len(reached) // FEW else None
        whole = int(np.searchsorted(columns, self._width))
        down, across = np.nonzero(self._grid[:, columns[:whole]] >= threshold)
        alone = columns[whole:] + (_ROWS - 1) * self._width
        return np.concatenate([down * self._width + columns[across], alone])

    def largest(self, n: int) -> NDArray[np.intp]:
        """Return the indices of the n largest numbers, largest first; of equal numbers the first ones."""
        n = min(n, len(self._row))
        if n == 0:
            return np.empty(0, np.intp)
        is_limited = n <= len(self._maxima)
        threshold = np.partition(self._maxima, -n)[-n] if is_limited else np.float32(-np.inf)  # at least n reach it
        places = self.reaching(threshold)
        if places is None:
            places = np.flatnonzero(self._row >= threshold)
        return places[np.argsort(-self._row[places], kind="stable")[:n]]

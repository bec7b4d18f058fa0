"""The latency model of a step: how long a step takes, learned from the steps so far. Pure; times come from outside."""

from dataclasses import dataclass

_DECAY = 0.95
"""Weight of a step in the fit, relative to the step after it."""
_MIN_SPREAD = 64.0
"""Standard deviation of the cells per row below which the cost of a cell cannot be separated from that of a row."""
_UNTILED_SLOWDOWN = 4.0
"""How many times longer a row takes per cell without a tile. Measured: 4.1 with heads of 128 numbers, 5.7 with 64."""
_SMOOTHING = 0.3
"""Weight of the last step smaller than a tile in the moving average of `_factor`."""
_TINY = 1e-9
"""Smallest time in seconds, so that no division is by zero."""


@dataclass(frozen=True)
class StepWork:
    """The size of a step, as far as its latency depends on it."""

    rows: int = 0
    """Number of rows, one per token."""
    cells: int = 0
    """Number of KV cells that at least one row attends to."""
    pairs: int = 0
    """Number of pairs of a row and a cell that it attends to."""

    def __add__(self, other: "StepWork") -> "StepWork":
        return StepWork(self.rows + other.rows, self.cells + other.cells, self.pairs + other.pairs)


class LatencyModel:
    """Estimates the seconds of a step from its rows and the cells that they attend to.

    On a CPU flash attention computes a tile of rows with one kernel (`ggml_fa_tile_config` in llama.cpp's ops.cpp).
    Each row of the tile attends to the cells of all of them, and that is several times as fast as the kernel for fewer
    rows, in which each row attends to its own cells only. So

        seconds = rows * row + tiles * tile * cells * cell                        with whole tiles,
        seconds = factor * (rows * row + pairs * cell * UNTILED_SLOWDOWN)         with fewer rows than a tile.

    `row` and `cell` are fitted to steps with whole tiles by exponentially weighted least squares; `factor` is a moving
    average over the smaller steps.
    """

    def __init__(self, tile: int) -> None:
        """`tile` is the number of rows that attention computes with one kernel."""
        self.tile = tile
        self._row = 0.0
        self._cell = 0.0
        self._factor = 1.0
        self._sums = [0.0] * 5

    @property
    def is_known(self) -> bool:
        """Whether a step of at least one tile was observed, so that there is an estimate."""
        return self._row > 0

    def seconds(self, work: StepWork) -> float:
        """Return the estimated seconds of a step; 0 while nothing is known."""
        if work.rows >= self.tile:
            return work.rows * self._row + self._tiled_rows(work) * work.cells * self._cell
        return self._factor * (work.rows * self._row + work.pairs * self._cell * _UNTILED_SLOWDOWN)

    def observe(self, work: StepWork, seconds: float) -> None:
        """Learn from a step that took `seconds`."""
        if work.rows >= self.tile:
            self._fit(self._tiled_rows(work) / work.rows * work.cells, seconds / work.rows)
        elif self.is_known and work.rows >= self.tile // 8:  # the time of fewer rows is that of reading the weights
            factor = seconds * self._factor / max(self.seconds(work), _TINY)
            self._factor += _SMOOTHING * (factor - self._factor)

    def _tiled_rows(self, work: StepWork) -> int:
        """Return the number of rows, rounded up to whole tiles."""
        return -(-work.rows // self.tile) * self.tile

    def _fit(self, cells: float, seconds: float) -> None:
        """Add one observation to the fit: the seconds of a row that attends to this many cells."""
        new = (1.0, cells, cells * cells, seconds, cells * seconds)
        self._sums = [_DECAY * old + add for old, add in zip(self._sums, new, strict=True)]
        weight, cells_sum, squares, seconds_sum, products = self._sums
        mean, mean_seconds = cells_sum / weight, seconds_sum / weight
        variance = squares / weight - mean * mean
        if variance > _MIN_SPREAD * _MIN_SPREAD:
            self._cell = max(0.0, (products / weight - mean * mean_seconds) / variance)
        self._row = mean_seconds - self._cell * mean
        if self._row <= 0:  # an outlier, such as a step during which the process was suspended: fall back to the mean
            self._row, self._cell = max(mean_seconds, _TINY), 0.0

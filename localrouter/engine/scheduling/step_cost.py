"""How long steps take: learned from those that were taken. Pure; times come from outside."""

from dataclasses import dataclass

_FADING = 0.95
"""How much a step counts, in the fit, beside the one after it."""
_SPREAD = 64.0
"""Cells by which contexts must differ before the cost of a cell can be told from that of a row."""
_SLOWER = 4.0
"""How many times longer a row takes for a cell without a tile. Measured: 4.1 on 128 numbers a head, 5.7 on 64."""
_WEIGHT = 0.3
"""How much the last small step counts in `factor` beside what was known before it."""
_TINY = 1e-9
"""Seconds that anything takes at least: what is divided by is never 0."""


@dataclass(frozen=True)
class StepWork:
    """What a step has to do."""

    rows: int = 0
    cells: int = 0
    """That any of its rows looks at."""
    looks: int = 0
    """Cells that each row looks at, all rows added up."""

    def __add__(self, other: "StepWork") -> "StepWork":
        return StepWork(self.rows + other.rows, self.cells + other.cells, self.looks + other.looks)


class StepCost:
    """Learns what a row costs, and what it costs for every cell that it looks at.

    On a CPU flash attention computes a tile of rows with one kernel (`ggml_fa_tile_config` in llama.cpp's ops.cpp):
    every row of the tile looks at the cells of all of them, and that is several times as fast as the kernel for fewer
    rows, in which each row looks at its own cells only. So

        seconds = rows * row + tiles * tile * cells * cell            with whole tiles,
        seconds = factor * (rows * row + looks * cell * SLOWER)       with fewer rows than a tile.

    `row` and `cell` are fitted by least squares to steps with whole tiles, `factor` follows the smaller ones.
    """

    def __init__(self, tile: int) -> None:
        self.tile = tile
        self._row = 0.0
        self._cell = 0.0
        self._factor = 1.0
        self._sums = [0.0] * 5

    @property
    def is_known(self) -> bool:
        """Whether a whole tile has been seen."""
        return self._row > 0

    def of(self, work: StepWork) -> float:
        """Return the seconds that a step takes, as far as they are known."""
        if work.rows >= self.tile:
            return work.rows * self._row + self._rows_of_tiles(work) * work.cells * self._cell
        return self._factor * (work.rows * self._row + work.looks * self._cell * _SLOWER)

    def took(self, work: StepWork, seconds: float) -> None:
        """Note how long a step took."""
        if work.rows >= self.tile:
            self._fit(self._rows_of_tiles(work) / work.rows * work.cells, seconds / work.rows)
        elif self.is_known and work.rows >= self.tile // 8:  # fewer wait for the weights, and tell nothing of rows
            factor = seconds * self._factor / max(self.of(work), _TINY)
            self._factor += _WEIGHT * (factor - self._factor)

    def _rows_of_tiles(self, work: StepWork) -> int:
        return -(-work.rows // self.tile) * self.tile

    def _fit(self, cells: float, seconds: float) -> None:
        """Weighted least squares of the seconds of a row over the cells it looks at."""
        new = (1.0, cells, cells * cells, seconds, cells * seconds)
        self._sums = [_FADING * old + add for old, add in zip(self._sums, new, strict=True)]
        weight, cells_sum, squares, seconds_sum, products = self._sums
        mean, mean_seconds = cells_sum / weight, seconds_sum / weight
        variance = squares / weight - mean * mean
        if variance > _SPREAD * _SPREAD:
            self._cell = max(0.0, (products / weight - mean * mean_seconds) / variance)
        self._row = mean_seconds - self._cell * mean
        if self._row <= 0:  # a step that was disturbed: what is left is the mean
            self._row, self._cell = max(mean_seconds, _TINY), 0.0

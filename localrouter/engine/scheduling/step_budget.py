"""The token budget of a step: how many prompt tokens it may compute to take about as long as it should. Pure."""

from localrouter.engine.scheduling.latency_model import LatencyModel, StepWork

_MAX_OVERRUN = 2
"""How many times its time a step of one tile may take before it is cut below a tile, where rows cost more each."""
_MIN_GAIN = 1.1
"""How many times longer a step must take without padding for the padding to be worth it."""
_SMALL = (32, 16, 8)
"""Numbers of rows of steps that are smaller than a tile."""
_MIN_TILES_WITHOUT_DECODING = 2
"""Smallest step, in tiles, while no sequence is decoding."""


class StepBudget:
    """Limits the prompt tokens of a step, so that running streams pause no longer than a given time.

    Attention computes whole tiles of rows at less cost per row. So a step is cut below one tile only where a tile would
    take more than twice the given time.
    """

    def __init__(self, seconds: float, *, max_rows: int, tile: int = 64, pads_to_tile: bool = False) -> None:
        """`seconds` is the time of a step, `max_rows` the most prompt tokens of one, `tile` the rows of one kernel.

        `pads_to_tile` is whether a step may be filled up to a tile with rows of no sequence.
        """
        self.seconds = seconds
        self.tile = tile
        self._max_rows = max_rows
        self._pads_to_tile = pads_to_tile
        self._latency = LatencyModel(tile)

    def rows(self, decoding: StepWork, prompts: int, context: int = 0) -> int:
        """Return how many prompt tokens the next step may compute beside the rows that are decoding; at least 1.

        `prompts` is the number of prompts in prefill or waiting, `context` the number of cells that the prompts of this
        step attend to. The time of a step is longer where more prompts wait than streams run. It is limited also while
        no sequence is decoding, because a new request or a cancellation waits until the step ends.
        """
        seconds = self.seconds * max(1.0, prompts / max(decoding.rows, 1))
        total = self.tile * (1 if decoding.rows else _MIN_TILES_WITHOUT_DECODING)
        if self._latency.is_known:
            while total < self._max_rows and self._estimate(decoding, total + self.tile, context) <= seconds:
                total += self.tile
            if decoding.rows and self._estimate(decoding, total, context) > _MAX_OVERRUN * seconds:
                small = (size for size in _SMALL if self._estimate(decoding, size, context) <= seconds)
                total = next(small, _SMALL[-1])
        while total - decoding.rows < 1:
            total += self.tile
        return min(total - decoding.rows, self._max_rows)

    def padding(self, work: StepWork) -> int:
        """Return the number of rows of no sequence that make a step a whole tile and thereby faster; 0 for none."""
        missing = self.tile - work.rows
        if not self._pads_to_tile or missing <= 0 or not self._latency.is_known:
            return 0
        padded = self._latency.seconds(work + StepWork(missing, missing))
        return missing if self._latency.seconds(work) > _MIN_GAIN * padded else 0

    def observe(self, work: StepWork, seconds: float) -> None:
        """Learn from a step that took `seconds`. Its padding is part of `work`."""
        self._latency.observe(work, seconds)

    def _estimate(self, decoding: StepWork, total: int, context: int) -> float:
        """Return the seconds of a step of `total` rows, those not decoding from a prompt with `context` cells."""
        rows = max(total - decoding.rows, 0)
        return self._latency.seconds(decoding + StepWork(rows, context + rows, rows * (context + rows // 2)))

"""How many rows a step may have to take about as long as it should. Pure: times come from outside."""

from localrouter.engine.scheduling.step_cost import StepCost, StepWork

_PATIENCE = 2
"""How often the budget fits into a step of one tile, before this is cut: for small pieces all pay with their time."""
_GAIN = 1.1
"""How many times longer a step must take without padding than with it."""
_SMALL = (32, 16, 8)
_ALONE = 2
"""Tiles of a step at least while nobody is decoding."""


class StepBudget:
    """Cuts prompts so that running streams never pause for longer than agreed.

    Rows come in whole tiles, which are cheaper; only where one tile takes twice as long as the budget a step has fewer
    rows.
    """

    def __init__(self, budget: float, *, most: int, tile: int = 64, pads_to_tile: bool = False) -> None:
        """`budget` is in seconds, `most` the prompt tokens of a step at most, `tile` the rows of one kernel.

        `pads` is whether a step may be filled up to a tile with rows that nobody needs.
        """
        self.budget = budget
        self._most = most
        self.tile = tile
        self._pads_to_tile = pads_to_tile
        self._cost = StepCost(tile)

    def rows(self, decoding: StepWork, prompts: int, context: int = 0) -> int:
        """Prompt tokens for the next step beside the rows that are `decoding`, when so many prompts wait to be read.

        `context` are the cells that those prompts look at which get some. Where more prompts wait than streams run, a
        pause of the few is worth less than the time of the many. While nobody is decoding the budget counts as well:
        a prompt that comes now waits for a step, and so does who cancels.
        """
        budget = self.budget * max(1.0, prompts / max(decoding.rows, 1))
        least = 1 if decoding.rows else _ALONE
        total = least * self.tile
        if self._cost.is_known:
            while total < self._most and self._seconds(decoding, total + self.tile, context) <= budget:
                total += self.tile
            if decoding.rows and self._seconds(decoding, total, context) > _PATIENCE * budget:
                small = (size for size in _SMALL if self._seconds(decoding, size, context) <= budget)
                total = next(small, _SMALL[-1])
        while total - decoding.rows < 1:
            total += self.tile
        return min(total - decoding.rows, self._most)

    def padding(self, work: StepWork) -> int:
        """Rows that nobody needs, and with which a step takes less time than without them."""
        missing = self.tile - work.rows
        if not self._pads_to_tile or missing <= 0 or not self._cost.is_known:
            return 0
        padded = self._cost.of(work + StepWork(missing, missing))
        return missing if self._cost.of(work) > _GAIN * padded else 0

    def took(self, seconds: float, work: StepWork) -> None:
        """Note how long a step took, padding included."""
        self._cost.took(work, seconds)

    def _seconds(self, decoding: StepWork, total: int, context: int) -> float:
        """Of a step with so many rows in all, those of a prompt behind so much context."""
        rows = max(total - decoding.rows, 0)
        return self._cost.of(decoding + StepWork(rows, context + rows, rows * (context + rows // 2)))

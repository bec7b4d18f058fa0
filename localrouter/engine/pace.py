"""How many rows a step may have to take about as long as it should. Pure: times come from outside."""

_WEIGHT = 0.3
"""How much the last step counts beside what was known before it."""
_PATIENCE = 2
"""How often the budget fits into a step of one tile, before this is cut: for small pieces all pay with their time."""
_TINY = 1e-9
"""Seconds that a row takes at least, on any machine."""
_SMALL = (32, 16, 8)


class Pace:
    """Learns what rows cost, and cuts prompts so that running streams never pause for longer than agreed.

    Rows come in whole tiles where that is cheaper: on a CPU attention computes 64 rows with one kernel, and each row
    beyond them with another that is several times as slow. So a step has a multiple of a tile in all; only where one
    tile takes twice as long as the budget it has fewer rows. What a row costs is learned for both by itself.
    """

    def __init__(self, budget: float, *, most: int, tile: int = 64) -> None:
        """`budget` is in seconds, `most` the prompt tokens of a step at most, `tile` the rows of one kernel."""
        self.budget = budget
        self._most = most
        self.tile = tile
        self._cost: dict[bool, float] = {}
        """Seconds per row, of steps with whole tiles and of smaller ones."""

    def rows(self, decoding: int, prompts: int) -> int:
        """Prompt tokens for the next step, beside so many running streams, when so many prompts wait to be read.

        Where more prompts wait than streams run, a pause of the few is worth less than the time of the many.
        """
        if not decoding:
            return self._most
        budget = self.budget * max(1.0, prompts / decoding)
        tiles = int(self._affordable(budget, whole=True) / self.tile)
        total = max(tiles, 1) * self.tile
        if self._affordable(_PATIENCE * budget, whole=True) < self.tile:
            affordable = self._affordable(budget, whole=False)
            total = next((size for size in _SMALL if size <= affordable), _SMALL[-1])
        while total - decoding < 1:
            total += self.tile
        return min(total - decoding, self._most)

    def took(self, seconds: float, *, decoding: int, rows: int) -> None:
        """Note how long a step took, with so many running streams and so many prompt tokens."""
        if not rows:
            return
        whole = decoding + rows >= self.tile
        known, seen = self._cost.get(whole), seconds / (decoding + rows)
        self._cost[whole] = seen if known is None else (1 - _WEIGHT) * known + _WEIGHT * seen

    def _affordable(self, budget: float, *, whole: bool) -> float:
        """Rows that fit into the budget; a tile or a small step before anything is known."""
        cost = self._cost.get(whole)
        if cost is None:
            return float(self.tile if whole else _SMALL[1])
        return min(budget / max(cost, _TINY), float(self._most + self.tile))

"""How far something long has come, on stderr: a bar on a terminal, a plain line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from localrouter.cli.list import human_size

PATIENCE = 2.0
"""Seconds that something may take without a word, and between two plain lines."""


@contextmanager
def watching(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Give a function that is told of every so many bytes more; nothing is shown of what is done at once."""
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task(what, total=total)
            yield lambda count: progress.advance(task, count)
    else:
        lines = PlainLines(what, total, console.print)
        yield lines.advance


class PlainLines:
    """One line every two seconds: bytes, rate and time left. `clock` is in seconds."""

    def __init__(
        self, what: str, total: int, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what = what
        self._total = total
        self._say = say
        self._clock = clock
        self._done = 0
        self._started = self._last = clock()

    def advance(self, count: int) -> None:
        """Take note of so many bytes more."""
        self._done += count
        now = self._clock()
        if now - self._last < PATIENCE:
            return
        self._last = now
        rate = self._done / (now - self._started)
        left = max(0, self._total - self._done) / rate if rate else 0
        self._say(
            f"{self._what}: {human_size(self._done)} of {human_size(self._total)}, {human_size(int(rate))}/s, "
            f"{int(left) // 60}:{int(left) % 60:02} left"
        )

"""How far something long has come, on stderr: bars in a terminal, elsewhere a plain line now and then."""

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

from localrouter.cli.list import human_size
from localrouter.weights.hashed_copy import Report, silent
from localrouter.weights.manifest.pin import PinnedFile

PATIENCE = 2.0
"""Seconds that something may take without a word."""
LINE_SECONDS = 5.0
"""Seconds between two plain lines of the same thing."""
BAR_SECONDS = 0.1
_ROOM_FOR_A_BAR = 72
"""Columns of a terminal below which name and figures need all there are."""
_SHORTEST_NAME = 8
_WIDTHS = (18, 5, 9, 11)
"""Columns that each of the figures has at least, so that they do not jump."""


class Figures(NamedTuple):
    """How far something is, in words; what is not known is empty."""

    amount: str
    share: str
    rate: str
    left: str

    def __str__(self) -> str:
        return ", ".join(filter(None, (f"{self.amount} ({self.share})", self.rate, self.left)))


def figures(done: int, total: int, rate: float | None) -> Figures:
    """The figures of `done` of `total` bytes at `rate` bytes per second; None: not known yet."""
    done = min(done, total)
    return Figures(
        f"{human_size(done)} of {human_size(total)}",
        f"{100 * done // total if total else 100} %",
        "" if rate is None else f"{human_size(int(rate))}/s",
        f"{duration((total - done) / rate)} left" if rate and done < total else "",
    )


class Display(Protocol):
    """Shows several things that go on at the same time, from any thread. A `key` tells them apart."""

    def show(self, key: Hashable, what: str, done: int, total: int, *, announce: bool = False) -> None:
        """`done` of `total` bytes are done. What the first call says is where it starts, and no part of the rate.

        `announce`: its beginning and its end are worth a word, however short it takes.
        """

    def drop(self, key: Hashable) -> None:
        """This one is over, without a last word."""

    def tell(self, text: str) -> None:
        """Say something at once."""


@contextmanager
def display(console: Console, *, transient: bool = False) -> Iterator[Display]:
    """What fits this console, until the end of the block. `transient`: bars leave nothing behind."""
    if not console.is_terminal:
        yield Lines(lambda text: console.print(text, markup=False, soft_wrap=True))
        return
    bar = [BarColumn(None, table_column=Column(ratio=2))] if console.width >= _ROOM_FOR_A_BAR else []
    columns = (_Name(), *bar, *map(_Figure, Figures._fields, _WIDTHS))
    with Progress(*columns, console=console, transient=transient, expand=True) as progress:
        yield Bars(progress)


@contextmanager
def watching(what: str, total: int) -> Iterator[Report]:
    """Give a function that is told of every so many bytes more of one thing; a bar for it leaves nothing behind."""
    if total == 0:
        yield silent
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    done = 0
    with display(console, transient=True) as shown:

        def report(count: int) -> None:
            nonlocal done
            done += count
            shown.show(what, what, done, total)

        shown.show(what, what, done, total)
        yield report


@contextmanager
def showing(console: Console) -> Iterator["Files"]:
    """What watches transfers and shows them on this console until the end of the block."""
    with display(console) as shown:
        yield Files(shown)


class Files:
    """Watches the transfers of files, as `weights.hub.transfer.Watch` wants it."""

    def __init__(self, shown: Display) -> None:
        self._display = shown

    def at(self, file: PinnedFile, done: int) -> None:
        """Show how much is here."""
        self._display.drop((file, "check"))
        self._display.show(file, short(file), done, file.size, announce=True)

    def checking(self, file: PinnedFile, done: int) -> None:
        """Show how much of what an earlier run left has been read again."""
        self._display.show((file, "check"), f"checking {short(file)}", done, file.size)

    def tell(self, file: PinnedFile, message: str) -> None:
        """Say it at once."""
        self._display.tell(f"{short(file)}: {message}")


class Bars:
    """A bar for each thing, from the moment that something is known of it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[Hashable, TaskID] = {}
        self._shown: dict[TaskID, float] = {}
        self._mutex = threading.Lock()

    def show(self, key: Hashable, what: str, done: int, total: int, *, announce: bool = False) -> None:
        """Move the bar, ten times a second at most."""
        del announce  # a bar is there from beginning to end
        now = time.monotonic()
        with self._mutex:
            task = self._tasks.get(key)
            if task is None:
                task = self._tasks[key] = self._progress.add_task(what, total=total, completed=done)
            elif now < self._shown[task] + BAR_SECONDS and done < total:
                return
            self._shown[task] = now
            self._progress.update(task, completed=done)

    def drop(self, key: Hashable) -> None:
        """Take the bar away."""
        with self._mutex:
            if (task := self._tasks.pop(key, None)) is not None:
                self._progress.remove_task(task)

    def tell(self, text: str) -> None:
        """Print above the bars."""
        self._progress.console.print(text, markup=False)


class Lines:
    """A line for each thing after two seconds, then every five, and when it is complete if something was said of it."""

    def __init__(self, say: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._pace: dict[Hashable, _Pace] = {}
        self._mutex = threading.Lock()

    def show(self, key: Hashable, what: str, done: int, total: int, *, announce: bool = False) -> None:
        """Say how far it is, when it is time to."""
        now = self._clock()
        with self._mutex:
            pace = self._pace.get(key)
            if pace is None:
                self._pace[key] = _Pace(now, done, said=now if announce else None)
                if announce:
                    begun = f"; {human_size(done)} of it are here already" if done else ""
                    self._say(f"{what}: {human_size(total)}{begun}")
            elif pace.is_due(now, finished=done >= total):
                self._say(f"{what}: {figures(done, total, pace.rate(now, done))}")

    def drop(self, key: Hashable) -> None:
        """Forget it."""
        with self._mutex:
            self._pace.pop(key, None)

    def tell(self, text: str) -> None:
        """Say it between the lines."""
        with self._mutex:
            self._say(text)


@dataclass
class _Pace:
    """What a rate is counted from, in seconds and bytes, and when something was said of it."""

    started: float
    done: int
    said: float | None
    finished: bool = False

    def is_due(self, now: float, *, finished: bool) -> bool:
        """Whether it is time for a line; that it was said is noted."""
        last = finished and not self.finished and self.said is not None
        wait = now - self.started >= PATIENCE if self.said is None else now - self.said >= LINE_SECONDS
        if last or (wait and not self.finished):
            self.said, self.finished = now, finished
            return True
        return False

    def rate(self, now: float, done: int) -> float:
        """Bytes per second since the first word."""
        return (done - self.done) / max(now - self.started, 1e-3)


class _Name(ProgressColumn):
    """What a bar is about; what does not fit goes from its middle, for files differ at their ends."""

    def __init__(self) -> None:
        super().__init__(Column(ratio=3, no_wrap=True))

    def render(self, task: Task) -> RenderableType:
        """The name, which learns its width when it is printed."""
        return _Shortened(task.description)


@dataclass(frozen=True)
class _Shortened:
    text: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(_shorten(self.text, options.max_width), no_wrap=True, overflow="crop")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(_SHORTEST_NAME, options.max_width), min(cell_len(self.text), options.max_width))


class _Figure(ProgressColumn):
    """One of the figures. They keep their place while the numbers grow."""

    def __init__(self, name: str, width: int) -> None:
        super().__init__(Column(justify="right", no_wrap=True, min_width=width))
        self._name = name

    def render(self, task: Task) -> RenderableType:
        """The figure, as it is in a plain line."""
        speed = task.finished_speed or task.speed
        return Text(getattr(figures(int(task.completed), int(task.total or 0), speed), self._name))


def _shorten(text: str, width: int) -> str:
    if cell_len(text) <= width or width < 2:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


def duration(seconds: float) -> str:
    """A time to wait, as exact as a person needs it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def short(file: PinnedFile) -> str:
    """The name of a file without its folders."""
    return file.name.rpartition("/")[2]

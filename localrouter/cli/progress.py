"""Progress of long operations on stderr: bars on a terminal, elsewhere a plain line every few seconds."""

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
"""Seconds before the first line about an operation."""
LINE_SECONDS = 5.0
"""Seconds between two plain lines about the same operation."""
BAR_SECONDS = 0.1
_ROOM_FOR_A_BAR = 72
"""Columns of a terminal below which there is no room for a bar beside name and figures."""
_SHORTEST_NAME = 8
_WIDTHS = (18, 5, 9, 11)
"""Minimum width of each figure in columns, so that figures keep their place."""


class Figures(NamedTuple):
    """Progress figures as text: amount, percentage, rate and time left; unknown ones are empty."""

    amount: str
    share: str
    rate: str
    left: str

    def __str__(self) -> str:
        return ", ".join(filter(None, (f"{self.amount} ({self.share})", self.rate, self.left)))


def figures(done: int, total: int, rate: float | None) -> Figures:
    """Return the figures of `done` of `total` bytes at `rate` bytes per second; None: rate not known yet."""
    done = min(done, total)
    return Figures(
        f"{human_size(done)} of {human_size(total)}",
        f"{100 * done // total if total else 100} %",
        "" if rate is None else f"{human_size(int(rate))}/s",
        f"{duration((total - done) / rate)} left" if rate and done < total else "",
    )


class Display(Protocol):
    """Display of several concurrent operations, each identified by a `key`. Thread-safe."""

    def show(self, key: Hashable, what: str, done: int, total: int, *, announce: bool = False) -> None:
        """Show that `done` of `total` bytes are done. Bytes done at the first call do not count towards the rate.

        `announce`: print start and end even of a short operation.
        """

    def drop(self, key: Hashable) -> None:
        """Stop showing an operation, without a final line."""

    def tell(self, text: str) -> None:
        """Print a message immediately."""


@contextmanager
def display(console: Console, *, transient: bool = False) -> Iterator[Display]:
    """Give bars on a terminal and lines elsewhere, until the end of the block. `transient` bars are erased then."""
    if not console.is_terminal:
        yield Lines(lambda text: console.print(text, markup=False, soft_wrap=True))
        return
    bar = [BarColumn(None, table_column=Column(ratio=2))] if console.width >= _ROOM_FOR_A_BAR else []
    columns = (_Name(), *bar, *map(_Figure, Figures._fields, _WIDTHS))
    with Progress(*columns, console=console, transient=transient, expand=True) as progress:
        yield Bars(progress)


@contextmanager
def watching(what: str, total: int) -> Iterator[Report]:
    """Give a function that adds to the bytes done of one operation; its bar is erased at the end of the block."""
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
def showing(console: Console) -> Iterator["TransferProgress"]:
    """Give an observer of transfers that shows them on this console until the end of the block."""
    with display(console) as shown:
        yield TransferProgress(shown)


class TransferProgress:
    """Progress of file transfers on a display; implements `weights.hub.transfer.Watch`."""

    def __init__(self, shown: Display) -> None:
        self._display = shown

    def at(self, file: PinnedFile, done: int) -> None:
        """Show how many bytes of a file are on this machine."""
        self._display.drop((file, "check"))
        self._display.show(file, short(file), done, file.size, announce=True)

    def checking(self, file: PinnedFile, done: int) -> None:
        """Show how many bytes of a partial file have been hashed."""
        self._display.show((file, "check"), f"checking {short(file)}", done, file.size)

    def tell(self, file: PinnedFile, message: str) -> None:
        """Print a message about a file immediately."""
        self._display.tell(f"{short(file)}: {message}")


class Bars:
    """Display with a bar for each operation."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[Hashable, TaskID] = {}
        self._shown: dict[TaskID, float] = {}
        self._mutex = threading.Lock()

    def show(self, key: Hashable, what: str, done: int, total: int, *, announce: bool = False) -> None:
        """Update the bar of an operation, at most ten times a second."""
        del announce  # bars show start and end anyway
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
        """Remove the bar of an operation."""
        with self._mutex:
            if (task := self._tasks.pop(key, None)) is not None:
                self._progress.remove_task(task)

    def tell(self, text: str) -> None:
        """Print a message above the bars."""
        self._progress.console.print(text, markup=False)


class Lines:
    """Display with a line per operation after two seconds, then every five, and at its end if a line was printed."""

    def __init__(self, say: Callable[[str], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._pace: dict[Hashable, _Pace] = {}
        self._mutex = threading.Lock()

    def show(self, key: Hashable, what: str, done: int, total: int, *, announce: bool = False) -> None:
        """Print the progress of an operation if a line is due."""
        now = self._clock()
        with self._mutex:
            pace = self._pace.get(key)
            if pace is None:
                self._pace[key] = _Pace(now, done, said=now if announce else None)
                if announce:
                    begun = f"; {human_size(done)} already downloaded" if done else ""
                    self._say(f"{what}: {human_size(total)}{begun}")
            elif pace.is_due(now, finished=done >= total):
                self._say(f"{what}: {figures(done, total, pace.rate(now, done))}")

    def drop(self, key: Hashable) -> None:
        """Forget an operation."""
        with self._mutex:
            self._pace.pop(key, None)

    def tell(self, text: str) -> None:
        """Print a message between the lines."""
        with self._mutex:
            self._say(text)


@dataclass
class _Pace:
    """Start of an operation in seconds and bytes, and the time of its last line."""

    started: float
    done: int
    said: float | None
    finished: bool = False

    def is_due(self, now: float, *, finished: bool) -> bool:
        """Whether a line is due; records that it is printed now."""
        last = finished and not self.finished and self.said is not None
        wait = now - self.started >= PATIENCE if self.said is None else now - self.said >= LINE_SECONDS
        if last or (wait and not self.finished):
            self.said, self.finished = now, finished
            return True
        return False

    def rate(self, now: float, done: int) -> float:
        """Return the bytes per second since the start."""
        return (done - self.done) / max(now - self.started, 1e-3)


class _Name(ProgressColumn):
    """Column with the name of an operation, shortened in its middle because file names differ at their ends."""

    def __init__(self) -> None:
        super().__init__(Column(ratio=3, no_wrap=True))

    def render(self, task: Task) -> RenderableType:
        """Return the name, which is shortened to its column when it is printed."""
        return _Shortened(task.description)


@dataclass(frozen=True)
class _Shortened:
    text: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(_shorten(self.text, options.max_width), no_wrap=True, overflow="crop")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(min(_SHORTEST_NAME, options.max_width), min(cell_len(self.text), options.max_width))


class _Figure(ProgressColumn):
    """Column with one of the figures, of a fixed minimum width."""

    def __init__(self, name: str, width: int) -> None:
        super().__init__(Column(justify="right", no_wrap=True, min_width=width))
        self._name = name

    def render(self, task: Task) -> RenderableType:
        """Return the figure as in a plain line."""
        speed = task.finished_speed or task.speed
        return Text(getattr(figures(int(task.completed), int(task.total or 0), speed), self._name))


def _shorten(text: str, width: int) -> str:
    if cell_len(text) <= width or width < 2:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


def duration(seconds: float) -> str:
    """Return a duration as text, rounded to seconds or minutes."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def short(file: PinnedFile) -> str:
    """Return the name of a file without its folders."""
    return file.name.rpartition("/")[2]

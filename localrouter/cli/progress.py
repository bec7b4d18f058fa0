"""How far downloads are: a bar for each file in a terminal, otherwise a line every few seconds. Always on stderr."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from localrouter.cli.list import human_size
from localrouter.weights.hub.transfer import Watch
from localrouter.weights.manifest.pin import PinnedFile

LINE_SECONDS = 5.0
BAR_SECONDS = 0.1


@contextmanager
def showing(console: Console) -> Iterator[Watch]:
    """What watches transfers and shows them on this console until the end of the block."""
    if not console.is_terminal:
        yield Lines(console)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield Bars(progress)


class Bars:
    """A bar for each file, from the moment that something is known of it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[tuple[PinnedFile, bool], TaskID] = {}
        self._shown: dict[TaskID, float] = {}
        self._mutex = threading.Lock()

    def at(self, file: PinnedFile, done: int) -> None:
        """Show how much is here."""
        self._show(file, done, check=False)

    def checking(self, file: PinnedFile, done: int) -> None:
        """Show how much of what an earlier run left has been read again."""
        self._show(file, done, check=True)

    def tell(self, file: PinnedFile, message: str) -> None:
        """Print above the bars."""
        self._progress.console.print(f"{short(file)}: {message}", markup=False)

    def _show(self, file: PinnedFile, done: int, *, check: bool) -> None:
        now = time.monotonic()
        with self._mutex:
            task = self._tasks.get((file, check))
            if task is None:
                # The first figure is where it starts: what an earlier run brought is no part of the rate.
                name = f"{short(file)}: checking what is here" if check else short(file)
                task = self._progress.add_task(name, total=file.size, completed=0 if check else done)
                self._tasks[file, check] = task
                if not check and (file, True) in self._tasks:
                    self._progress.remove_task(self._tasks[file, True])
            elif now < self._shown.get(task, 0) + BAR_SECONDS and done < file.size:
                return
            self._shown[task] = now
            self._progress.update(task, completed=done)


@dataclass
class _Since:
    """What the rate of a file is counted from."""

    started: float
    done: int
    said: float


class Lines:
    """A line of text for each file every few seconds, and one when it is complete."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._since: dict[tuple[PinnedFile, bool], _Since] = {}
        self._mutex = threading.Lock()

    def at(self, file: PinnedFile, done: int) -> None:
        """Say how much is here, when it is time to."""
        self._say(file, done, check=False)

    def checking(self, file: PinnedFile, done: int) -> None:
        """Say how much of what an earlier run left has been read again, when it is time to."""
        self._say(file, done, check=True)

    def tell(self, file: PinnedFile, message: str) -> None:
        """Say it at once."""
        self._print(f"{short(file)}: {message}")

    def _say(self, file: PinnedFile, done: int, *, check: bool) -> None:
        now = self._clock()
        with self._mutex:
            since = self._since.get((file, check))
            if since is None:
                self._since[file, check] = _Since(now, done, now)
                if not check:
                    begun = f"; {human_size(done)} of it are here already" if done else ""
                    self._print(f"{short(file)}: {human_size(file.size)}{begun}")
            elif now >= since.said + LINE_SECONDS or (done == file.size and not check):
                since.said = now
                rate = (done - since.done) / max(now - since.started, 1e-3)
                self._print(line(file, done, rate, check=check))

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def line(file: PinnedFile, done: int, rate: float, *, check: bool = False) -> str:
    """How far a file is, in words; `rate` is in bytes per second."""
    what = "checked of" if check else "of"
    parts = (
        f"{human_size(done)} {what} {human_size(file.size)} ({100 * done // file.size} %), {human_size(int(rate))}/s"
    )
    if done < file.size and rate > 0:
        parts += f", {duration((file.size - done) / rate)} left"
    return f"{short(file)}: {parts}"


def duration(seconds: float) -> str:
    """A time to wait, as exact as a person needs it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def short(file: PinnedFile) -> str:
    """The name of a file without its folders."""
    return file.name.rpartition("/")[2]

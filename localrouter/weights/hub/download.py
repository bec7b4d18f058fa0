"""Download of all files of some pins: checks them on the hub, checks the free space, then transfers concurrently."""

import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from localrouter.errors import HubUnreachable, TransferError
from localrouter.weights.hub.cached_file import CachedFile
from localrouter.weights.hub.hub_client import Hub
from localrouter.weights.hub.transfer import Transfer, TransferOutcome, Watch
from localrouter.weights.manifest.pin import Pin, PinnedFile

AT_ONCE = 3
"""Concurrent transfers: parts of a split GGUF, or files of several models."""
LAST_WORDS = 2.0
"""Seconds for transfers to end after Ctrl-C. A transfer that waits for the network is abandoned, and loses no data."""


class Stopped(Exception):
    """The download was stopped by Ctrl-C or by a failure of another transfer."""


class DownloadStop:
    """Stop signal shared by the transfers of a download."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """Stop: from now on `check` and `pause` raise Stopped."""
        self._event.set()

    def check(self) -> None:
        """Raise Stopped when the download was stopped."""
        if self._event.is_set():
            raise Stopped

    def pause(self, seconds: float) -> None:
        """Wait for `seconds`, or raise Stopped as soon as the download is stopped."""
        self._event.wait(seconds)
        self.check()


@dataclass(frozen=True)
class Brought:
    """A file that is on this machine now, and the outcome of its transfer."""

    file: PinnedFile
    path: Path
    outcome: TransferOutcome


class Download:
    """Download of pinned files into a cache. `hub` should use `stop.pause`, so that Ctrl-C ends its pauses too."""

    def __init__(self, hub: Hub, cache: Path, watch: Watch, stop: DownloadStop) -> None:
        self._hub = hub
        self._cache = cache
        self._watch = _Stoppable(watch, stop)
        self._stop = stop

    def run(self, pins: Sequence[Pin]) -> list[tuple[Brought, ...]]:
        """Download every file of every pin that is not present; return the files in the order of the pins.

        Raises HubError, TransferError; the first failure stops all transfers. Received bytes are kept.
        """
        transfers = {place.pointer: self._transfer(place) for pin in pins for place in self._places(pin)}
        missing = [each for each in transfers.values() if not each.place.is_present()]
        self._require_network(missing)
        for transfer in missing:
            transfer.check()
        require_room(self._cache, sum(each.place.file.size - each.place.arrived() for each in missing))
        outcomes = dict(zip((each.place.pointer for each in missing), self._all_at_once(missing), strict=True))
        return [
            tuple(
                Brought(place.file, place.pointer, outcomes.get(place.pointer, TransferOutcome.PRESENT))
                for place in self._places(pin)
            )
            for pin in pins
        ]

    def _require_network(self, missing: Sequence[Transfer]) -> None:
        if missing and self._hub.offline:
            names = ", ".join(each.place.file.name for each in missing)
            raise HubUnreachable(
                f"not on this machine, and localrouter is offline: {names}",
                hint="on another machine: `localrouter pull NAME`, `localrouter bundle create models.tar NAME`; "
                "then here: `localrouter bundle import models.tar`",
            )

    def _places(self, pin: Pin) -> Iterable[CachedFile]:
        return (CachedFile(self._cache, pin.repo, pin.commit, file) for file in pin.files)

    def _transfer(self, place: CachedFile) -> Transfer:
        return Transfer(self._hub, place, self._watch)

    def _all_at_once(self, transfers: Sequence[Transfer]) -> list[TransferOutcome]:
        outcomes: dict[int, TransferOutcome] = {}
        failures: list[BaseException] = []
        queue = deque(enumerate(transfers))

        def work() -> None:
            while queue and not failures:
                try:
                    number, transfer = queue.popleft()
                    outcomes[number] = transfer.run()
                except IndexError:
                    return  # another thread took the last one
                except BaseException as failure:
                    failures.append(failure)
                    self._stop.set()

        self._run_threads(work, min(AT_ONCE, len(transfers)))
        for failure in failures:
            raise failure
        return [outcomes[number] for number in range(len(transfers))]

    def _run_threads(self, work: Callable[[], None], count: int) -> None:
        """Run `work` in `count` threads until all have ended, or Ctrl-C stops them."""
        # Daemons: the program may exit while one waits for the network, because all received bytes are on disk.
        threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            self._stop.set()
            for thread in threads:
                thread.join(LAST_WORDS)
            raise


def require_room(directory: Path, needed: int) -> None:
    """Raise TransferError when `needed` bytes do not fit on the disk of `directory`, which need not exist yet."""
    existing = next(each for each in (directory, *directory.absolute().parents) if each.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise TransferError(
            f"no room in {directory}: {needed:,} bytes are to be downloaded and {free:,} are free",
            hint=f"free {needed - free:,} bytes more, or set HF_HOME to a directory on another disk",
        )


class _Stoppable:
    """Observer of transfers that raises Stopped after a stop, and otherwise forwards every call."""

    def __init__(self, watch: Watch, stop: DownloadStop) -> None:
        self._watch = watch
        self._stop = stop

    def at(self, file: PinnedFile, done: int) -> None:
        self._stop.check()
        self._watch.at(file, done)

    def checking(self, file: PinnedFile, done: int) -> None:
        self._stop.check()
        self._watch.checking(file, done)

    def tell(self, file: PinnedFile, message: str) -> None:
        self._stop.check()
        self._watch.tell(file, message)

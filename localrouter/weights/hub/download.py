"""Brings all files of some pins: asks the hub for each, looks for room, then transfers several at the same time."""

import shutil
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from localrouter.errors import HubUnreachable, TransferError
from localrouter.weights.hub.cached_file import CachedFile
from localrouter.weights.hub.hub_client import Hub
from localrouter.weights.hub.transfer import Transfer, TransferOutcome, Watch
from localrouter.weights.manifest.pin import Pin, PinnedFile

AT_ONCE = 3
"""Files that are transferred at the same time: the parts of a split GGUF, or several models."""
LAST_WORDS = 2.0
"""Seconds that transfers get to end after Ctrl-C. One that waits for the network is left behind, and loses nothing."""


class Stopped(Exception):
    """The download was ended from outside."""


class DownloadStop:
    """Ends every transfer that looks at it."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """From now on `check` and `pause` raise."""
        self._event.set()

    def check(self) -> None:
        """Raise Stopped when it is time."""
        if self._event.is_set():
            raise Stopped

    def pause(self, seconds: float) -> None:
        """Wait, but not for longer than until it is time to stop."""
        self._event.wait(seconds)
        self.check()


@dataclass(frozen=True)
class Brought:
    """A file that is here now."""

    file: PinnedFile
    path: Path
    outcome: TransferOutcome


class Download:
    """Files on their way into a cache. Give `hub` the pause of the same `stop`, so that no pause outlasts Ctrl-C."""

    def __init__(self, hub: Hub, cache: Path, watch: Watch, stop: DownloadStop) -> None:
        self._hub = hub
        self._cache = cache
        self._watch = _Stoppable(watch, stop)
        self._stop = stop

    def run(self, pins: Sequence[Pin]) -> list[tuple[Brought, ...]]:
        """Bring every file of every pin, or find it there; in the order of the pins.

        Raises HubError, TransferError: the first one ends the others. What has arrived stays for the next run.
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
                hint="where there is a network: `localrouter pull NAME`, `localrouter bundle create models.tar NAME`; "
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

        # Daemons: the program may end while one waits for the network, for all that has arrived is on the disk.
        threads = [threading.Thread(target=work, daemon=True) for _ in transfers[:AT_ONCE]]
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
        for failure in failures:
            raise failure
        return [outcomes[number] for number in range(len(transfers))]


def require_room(directory: Path, needed: int) -> None:
    """Raise TransferError when so many bytes do not fit where `directory` is or will be."""
    existing = next(each for each in (directory, *directory.absolute().parents) if each.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise TransferError(
            f"no room in {directory}: {needed:,} bytes are to be downloaded and {free:,} are free",
            hint=f"free {needed - free:,} bytes more, or name a directory on another disk with HF_HOME",
        )


class _Stoppable:
    """Passes on what happens, unless it is time to stop."""

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

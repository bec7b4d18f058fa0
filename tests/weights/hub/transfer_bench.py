"""A hub with one file, a cache, and a transfer between them."""

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

from hub_server import HubServer

from localrouter.weights.hub.cached_file import CachedFile
from localrouter.weights.hub.hub_client import Hub
from localrouter.weights.hub.transfer import Transfer
from localrouter.weights.manifest.pin import PinnedFile

REPO, NAME = "owner/name", "a.gguf"
CONTENT = random.Random(4).randbytes(300_000)


class Seen:
    """What a transfer shows; `hook` may act, or end it, at each sight."""

    def __init__(self, hook: Callable[[int], None] = lambda _: None) -> None:
        self.done: list[int] = []
        self.checked = 0
        self.said: list[str] = []
        self._hook = hook

    def at(self, file: PinnedFile, done: int) -> None:
        self.done.append(done)
        self._hook(done)

    def checking(self, file: PinnedFile, done: int) -> None:
        self.checked = done

    def tell(self, file: PinnedFile, message: str) -> None:
        self.said.append(message)


class Bench:
    """A server with one file, a cache, and a transfer between them as often as it is wanted."""

    def __init__(self, server: HubServer, cache: Path) -> None:
        self.server = server
        self.commit = server.add(REPO, NAME, CONTENT)
        self.hub = Hub(server.endpoint, pause=lambda _: None)
        self.place = self.place_in(cache)

    def place_in(self, cache: Path, *, commit: str | None = None) -> CachedFile:
        file = PinnedFile(NAME, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
        return CachedFile(cache, REPO, commit or self.commit, file)

    def transfer(self, seen: Seen | None = None, *, place: CachedFile | None = None) -> Transfer:
        return Transfer(self.hub, place or self.place, seen or Seen())

    def leave_partial(self, data: bytes) -> None:
        self.place.prepare()
        self.place.partial.write_bytes(data)

    def is_whole(self) -> bool:
        return self.place.pointer.read_bytes() == CONTENT and not self.place.partial.exists()

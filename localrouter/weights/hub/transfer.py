"""Transfer of one file of the hub into the cache: resumes an earlier run, and verifies the sha256.

huggingface_hub would start again from the first byte, because its partial files have another name in each process. So
localrouter transfers files itself, and leaves the same layout as the library.
"""

import hashlib
import os
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Protocol

from filelock import Timeout
from huggingface_hub import constants
from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined] # lazily exported

from localrouter.errors import HubError, TransferError
from localrouter.weights.hashed_copy import hashed
from localrouter.weights.hub.cached_file import CachedFile, writing
from localrouter.weights.hub.hub_client import Hub
from localrouter.weights.hub.hub_response import RangeRejected
from localrouter.weights.hub.retry import Patience, Transient
from localrouter.weights.manifest.pin import PinnedFile

TRIES = 9
"""Consecutive failures without a received byte after which a transfer is given up; they take a minute and a half."""
LOCK_SECONDS = 0.5
"""Seconds to wait for the lock of another process between checks of the stop signal."""


class TransferOutcome(StrEnum):
    """Outcome of the transfer of a file."""

    PRESENT = "present"
    DOWNLOADED = "downloaded"


class Watch(Protocol):
    """Observer of transfers, called from their threads. Exceptions end the transfer, which can be resumed."""

    def at(self, file: PinnedFile, done: int) -> None:
        """Report that `done` bytes of the file have been received."""

    def checking(self, file: PinnedFile, done: int) -> None:
        """Report that `done` bytes of the file on disk have been hashed."""

    def tell(self, file: PinnedFile, message: str) -> None:
        """Report a message for the user."""


class Transfer:
    """Transfer of one file from the hub into the cache."""

    def __init__(self, hub: Hub, place: CachedFile, watch: Watch) -> None:
        self.place = place
        self._hub = hub
        self._watch = watch
        self._file = place.file
        self._digest = hashlib.sha256()
        self._done = 0
        self._refused = False

    def check(self) -> None:
        """Raise HubError unless the hub has the pinned file and serves it over HTTP. Nothing is written."""
        offer = self._hub.offer(self.place.repo, self._file.name, self.place.commit)
        there = offer.file
        if not offer.by_http:
            command = ["hf", "download", self.place.repo, self._file.name, "--revision", self.place.commit]
            raise HubError(
                f"{self._file.name} has {there.size:,} bytes: files of more than "
                f"{constants.MAX_HTTP_DOWNLOAD_SIZE:,} come from this repository only through the hub's Xet protocol, "
                "which localrouter does not support",
                hint=f"download it into the same cache with: {shlex.join(command)}; then: localrouter verify",
            )
        if there != self._file:
            raise HubError(
                f"the hub's {self._file.name} is not the pinned one: it has {there.size:,} bytes and sha256 "
                f"{there.sha256}, and the pin says {self._file.size:,} bytes and {self._file.sha256}",
                hint="find out why first; `localrouter lock --check` compares all builds, `lock` pins again",
            )

    def run(self) -> TransferOutcome:
        """Download the file unless it is present. Raises HubError, TransferError; received bytes are kept."""
        if self.place.is_present():
            return TransferOutcome.PRESENT
        with writing(self.place.cache):
            self.place.prepare()
            with self._alone():
                if self.place.is_present():
                    return TransferOutcome.PRESENT
                outcome = TransferOutcome.PRESENT if self._blob_is_good() else self._download()
                self.place.link()
                return outcome

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock that every writer of this file takes."""
        told = False
        while True:
            with ExitStack() as stack:
                try:
                    stack.enter_context(WeakFileLock(self.place.lock, timeout=LOCK_SECONDS))
                except Timeout:
                    if not told:
                        self._watch.tell(self._file, "waiting for another process that downloads this file")
                    told = True
                    self._watch.at(self._file, self.place.arrived())
                    continue
                yield
                return

    def _blob_is_good(self) -> bool:
        """Whether the blob exists already, from another commit or an interrupted run, with the right digest."""
        blob = self.place.blob
        if not blob.is_file() or blob.stat().st_size != self._file.size:
            return False
        if self._read_again(blob, self._file.size) == self._file.sha256:
            return True
        self._watch.tell(self._file, "the cached copy is damaged, downloading it again")
        return False

    def _read_again(self, path: Path, size: int) -> str:
        """Restart the digest with the first `size` bytes of a file, and return it."""
        self._digest = hashlib.sha256()
        read = 0

        def report(count: int) -> None:
            nonlocal read
            read += count
            self._watch.checking(self._file, read)

        with path.open("rb") as source:
            return hashed(source, size, report, self._digest)

    def _download(self) -> TransferOutcome:
        # Not truncated, and written at explicit offsets: see CachedFile.keep on locks without effect.
        descriptor = os.open(self.place.partial, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        with open(descriptor, "r+b", buffering=0) as partial:
            self._resume(partial)
            name = self._file.name
            patience = self._hub.patience(name, TRIES, lambda message: self._watch.tell(self._file, message))
            while self._done < self._file.size:
                self._receive(partial, patience)
            os.fsync(partial.fileno())
        self._require_digest()
        self.place.keep()
        return TransferOutcome.DOWNLOADED

    def _resume(self, partial: BinaryIO) -> None:
        """Continue after the bytes of an earlier run."""
        self._done = os.fstat(partial.fileno()).st_size
        if self._done > self._file.size:
            self._start_over(partial)
        self._read_again(self.place.partial, self._done)
        partial.seek(self._done)
        self._watch.at(self._file, self._done)

    def _start_over(self, partial: BinaryIO) -> None:
        self._digest, self._done = hashlib.sha256(), 0
        partial.seek(0)
        partial.truncate()

    def _receive(self, partial: BinaryIO, patience: Patience) -> None:
        """Receive the bytes of one connection."""
        before = self._done
        try:
            with self._hub.stream(self.place.repo, self._file.name, self.place.commit, before) as body:
                self._take(partial, body.start, body.chunks)
            if self._done < self._file.size:
                raise Transient(f"the server sent {self._done:,} of {self._file.size:,} bytes")
        except RangeRejected:
            self._bear_refusal(before)
            self._start_over(partial)
        except Transient as failure:
            if self._done > before:
                patience.renew()
            patience.bear(failure)

    def _bear_refusal(self, place: int) -> None:
        """Allow one rejected range: the bytes on disk may be of another file. Raises HubError for the second one."""
        if self._refused:
            raise HubError(
                f"the hub's {self._file.name} ends at byte {place:,}, and the pin says {self._file.size:,} bytes",
                hint="run the command again later; if the error persists, compare with: localrouter lock --check",
            )
        self._refused = True
        self._watch.tell(self._file, f"the server has no data after byte {place:,}; starting over")

    def _take(self, partial: BinaryIO, start: int, chunks: Iterator[bytes]) -> None:
        """Write and hash the bytes after those on disk; a server without range support sends all of them."""
        if start > self._done:
            raise HubError(f"the server skipped a part of {self._file.name}")
        skip = self._done - start
        for chunk in chunks:
            new = chunk[skip:]
            skip = max(0, skip - len(chunk))
            if self._done + len(new) > self._file.size:
                self._discard(f"the server sent more than the {self._file.size:,} bytes of {self._file.name}")
            self._write(partial, new)
            self._watch.at(self._file, self._done)

    def _write(self, partial: BinaryIO, data: bytes) -> None:
        left = memoryview(data)
        while left:
            written = partial.write(left)  # partial on a full disk: only written bytes are hashed
            self._digest.update(left[:written])
            self._done += written
            left = left[written:]

    def _require_digest(self) -> None:
        digest = self._digest.hexdigest()
        if digest != self._file.sha256:
            self._discard(f"{self._file.name} arrived damaged: its sha256 is {digest}, pinned is {self._file.sha256}")

    def _discard(self, why: str) -> None:
        self.place.partial.unlink(missing_ok=True)
        raise TransferError(
            f"{why}; it was deleted", hint="run the command again; if it fails again, check the network and proxies"
        )

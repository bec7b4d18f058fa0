"""What the Hugging Face hub says of a file, and its bytes, through huggingface_hub.

HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE mean what they mean for the library. Every failure is put into words:
one that may pass is tried again, any other is a HubError.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from httpx2 import Response
from huggingface_hub import HfApi, constants, get_hf_file_metadata, get_session, hf_hub_url
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined] # lazily exported

from localrouter import __version__
from localrouter.errors import HubError, HubUnreachable
from localrouter.gguf.parts import parts
from localrouter.weights.hub.hub_response import Asked, RangeRefused, in_words, is_gone
from localrouter.weights.hub.retry import Patience, Pause, Tell, Transient
from localrouter.weights.manifest.pin import Pin, PinnedFile

T = TypeVar("T")

TRIES = 5
"""Failures in a row that a question survives; they take 7.5 seconds."""
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Snapshot:
    """A repository at one commit. `license` is as its card says; None: it says nothing."""

    repo: str
    commit: str
    license: str | None
    files: tuple[str, ...]


@dataclass(frozen=True)
class HubFile:
    """A file that the hub has. `by_http`: it comes by plain HTTP, which is what we speak."""

    file: PinnedFile
    by_http: bool


@dataclass(frozen=True)
class Body:
    """The bytes of a file from `start` to its end, as they come."""

    start: int
    chunks: Iterator[bytes]


class Hub:
    """The hub at HF_ENDPOINT, or at `endpoint`; one object serves many threads.

    `offline` refuses every question without opening a connection, as does HF_HUB_OFFLINE. Before a question is asked
    again `tell` hears why, and `pause` waits. All methods raise HubError.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        offline: bool = False,
        pause: Pause = time.sleep,
        tell: Tell = lambda _: None,
    ) -> None:
        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self.offline = offline or constants.is_offline_mode()
        self._pause = pause
        self._tell = tell
        self._headers = build_hf_headers(library_name="localrouter", library_version=__version__)
        self._headers["Accept-Encoding"] = "identity"  # a compressed answer would have no length and no ranges

    def resolve(self, repo: str, revision: str | None = None) -> Snapshot:
        """The commit that a branch, a tag or a commit stands for; default: main."""
        api = HfApi(endpoint=self.endpoint)
        asked = Asked(repo, revision or constants.DEFAULT_REVISION)
        timeout = constants.HF_HUB_ETAG_TIMEOUT
        info = self._ask(asked, lambda: api.model_info(repo, revision=asked.revision, timeout=timeout))
        if info.sha is None:
            raise HubError(f"the hub does not say which commit {asked.revision} of {repo} is")
        card = info.card_data
        license_ = None if card is None else card.get("license_name") or card.get("license")
        files = tuple(sibling.rfilename for sibling in info.siblings or ())
        return Snapshot(repo, info.sha, license_ if isinstance(license_, str) else None, files)

    def file(self, repo: str, name: str, commit: str) -> PinnedFile:
        """Size and sha256 of a file at a commit; nothing is downloaded."""
        return self.offer(repo, name, commit).file

    def offer(self, repo: str, name: str, commit: str) -> HubFile:
        """What the hub has at a commit under this name, and whether plain HTTP brings it; nothing is downloaded."""
        url = self._url(repo, name, commit)
        asked = Asked(repo, commit, name)
        said = self._ask(asked, lambda: get_hf_file_metadata(url, headers=self._headers, endpoint=self.endpoint))
        if said.size is None or said.etag is None or not _SHA256.fullmatch(said.etag):
            raise HubError(
                f"the hub does not say size and sha256 of {name} in {repo}",
                hint="only files that the hub stores as large files (LFS, Xet) can be pinned; a GGUF should be one",
            )
        # Larger files of repositories on Xet storage come through Xet's own protocol alone, says huggingface_hub.
        too_large = said.xet_file_data is not None and said.size > constants.MAX_HTTP_DOWNLOAD_SIZE
        return HubFile(PinnedFile(name, said.size, said.etag), by_http=not too_large)

    def pin(self, repo: str, file: str, revision: str | None = None) -> Pin:
        """Commit, licence, size and sha256 of a GGUF at a revision, with all its parts where it is split."""
        snapshot = self.resolve(repo, revision)
        files = tuple(self.file(repo, name, snapshot.commit) for name in parts(file))
        return Pin(repo, snapshot.commit, files, snapshot.license)

    def read_range(self, repo: str, file: str, commit: str, start: int, stop: int) -> bytes:
        """The bytes from `start` up to `stop`, exclusive; fewer where the file ends before."""

        def read() -> bytes:
            data = bytearray()
            with self.stream(repo, file, commit, start, stop) as body:
                skip = start - body.start
                for chunk in body.chunks:
                    data += chunk
                    if len(data) >= stop - body.start:
                        break
            return bytes(data[skip : stop - body.start])

        try:
            return self._patient(Asked(repo, commit, file)).until_done(read) if start < stop else b""
        except RangeRefused:
            return b""

    @contextmanager
    def stream(self, repo: str, file: str, commit: str, start: int = 0, stop: int | None = None) -> Iterator[Body]:
        """Open a file at `start`; a server that knows no ranges begins at 0, as `Body.start` says.

        Not tried again: raises Transient, also while the body is read, and RangeRefused when the file ends before.
        """
        self._require_network(asked := Asked(repo, commit, file))
        headers = dict(self._headers)
        if start or stop is not None:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        url, timeout = self._url(repo, file, commit), constants.HF_HUB_DOWNLOAD_TIMEOUT
        with in_words(asked, self.endpoint), get_session().stream("GET", url, headers=headers, timeout=timeout) as got:
            if is_gone(got, self.endpoint):
                raise Transient("the address that the hub gave for this file has expired")
            hf_raise_for_status(got)
            # Without a chunk size, bytes are handed on as they come: a cut loses none that have arrived.
            yield Body(_start(got), got.iter_bytes())

    def patience(self, subject: str, tries: int, tell: Tell) -> Patience:
        """A fresh count of failures, with this hub's way to pause."""
        return Patience(subject, tries, self._pause, tell)

    def _patient(self, asked: Asked) -> Patience:
        return self.patience(asked.subject, TRIES, lambda message: self._tell(f"{asked.subject}: {message}"))

    def _ask(self, asked: Asked, ask: Callable[[], T]) -> T:
        self._require_network(asked)

        def once() -> T:
            with in_words(asked, self.endpoint):
                return ask()

        return self._patient(asked).until_done(once)

    def _require_network(self, asked: Asked) -> None:
        if self.offline:
            raise HubUnreachable(
                f"{asked.subject} would have to be asked of the hub, and localrouter is offline",
                hint="leave out --offline, LOCALROUTER_OFFLINE and HF_HUB_OFFLINE, or bring the model in a bundle",
            )

    def _url(self, repo: str, file: str, commit: str) -> str:
        return hf_hub_url(repo, file, revision=commit, endpoint=self.endpoint)


def _start(response: Response) -> int:
    """Where the body of an answer begins in the file."""
    if response.status_code != 206:
        return 0
    said = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if said is None:
        raise HubError("the server sent a part of the file and did not say which")
    return int(said[1])

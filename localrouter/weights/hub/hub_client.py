"""Client of the Hugging Face hub, through huggingface_hub: metadata and bytes of files.

HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE have the library's meaning. Transient failures are retried, any other
is a HubError.
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
from localrouter.weights.hub.hub_response import Asked, RangeRejected, in_words, is_gone
from localrouter.weights.hub.retry import Patience, Pause, Tell, Transient
from localrouter.weights.manifest.pin import Pin, PinnedFile

T = TypeVar("T")

TRIES = 5
"""Consecutive failures after which a request is given up; with their pauses they take 7.5 seconds."""
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Snapshot:
    """A repository at one commit. `license` is that of its model card; None without one."""

    repo: str
    commit: str
    license: str | None
    files: tuple[str, ...]


@dataclass(frozen=True)
class HubFile:
    """A file on the hub. `by_http`: it can be downloaded over plain HTTP, the only supported protocol."""

    file: PinnedFile
    by_http: bool


@dataclass(frozen=True)
class Body:
    """Streamed bytes of a file from offset `start` to its end."""

    start: int
    chunks: Iterator[bytes]


class Hub:
    """Client of the hub at HF_ENDPOINT, or at `endpoint`. Thread-safe.

    With `offline` or HF_HUB_OFFLINE every request fails without opening a connection. Before a retry, `tell` is called
    with the reason, and `pause` with the seconds to wait. All methods raise HubError.
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
        self._headers["Accept-Encoding"] = "identity"  # compressed responses have neither length nor ranges

    def resolve(self, repo: str, revision: str | None = None) -> Snapshot:
        """Return the repository at a branch, tag or commit; default: main."""
        api = HfApi(endpoint=self.endpoint)
        asked = Asked(repo, revision or constants.DEFAULT_REVISION)
        timeout = constants.HF_HUB_ETAG_TIMEOUT
        info = self._ask(asked, lambda: api.model_info(repo, revision=asked.revision, timeout=timeout))
        if info.sha is None:
            raise HubError(f"the hub reports no commit for {asked.revision} of {repo}")
        card = info.card_data
        license_ = None if card is None else card.get("license_name") or card.get("license")
        files = tuple(sibling.rfilename for sibling in info.siblings or ())
        return Snapshot(repo, info.sha, license_ if isinstance(license_, str) else None, files)

    def file(self, repo: str, name: str, commit: str) -> PinnedFile:
        """Return size and sha256 of a file at a commit; nothing is downloaded."""
        return self.offer(repo, name, commit).file

    def offer(self, repo: str, name: str, commit: str) -> HubFile:
        """Return the file of this name at a commit, and whether it comes over plain HTTP; nothing is downloaded."""
        url = self._url(repo, name, commit)
        asked = Asked(repo, commit, name)
        said = self._ask(asked, lambda: get_hf_file_metadata(url, headers=self._headers, endpoint=self.endpoint))
        if said.size is None or said.etag is None or not _SHA256.fullmatch(said.etag):
            raise HubError(
                f"the hub reports no size and sha256 of {name} in {repo}",
                hint="only files that the hub stores as large files (LFS, Xet) can be pinned, as it does with GGUF",
            )
        # According to huggingface_hub, larger files on Xet storage are available through Xet's own protocol only.
        too_large = said.xet_file_data is not None and said.size > constants.MAX_HTTP_DOWNLOAD_SIZE
        return HubFile(PinnedFile(name, said.size, said.etag), by_http=not too_large)

    def pin(self, repo: str, file: str, revision: str | None = None) -> Pin:
        """Return the pin of a GGUF at a revision: commit, licence, and size and sha256 of all its parts."""
        snapshot = self.resolve(repo, revision)
        files = tuple(self.file(repo, name, snapshot.commit) for name in parts(file))
        return Pin(repo, snapshot.commit, files, snapshot.license)

    def read_range(self, repo: str, file: str, commit: str, start: int, stop: int) -> bytes:
        """Return the bytes from `start` up to `stop`, exclusive; fewer where the file ends before."""

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
        except RangeRejected:
            return b""

    @contextmanager
    def stream(self, repo: str, file: str, commit: str, start: int = 0, stop: int | None = None) -> Iterator[Body]:
        """Open a file at `start`; a server without range support begins at 0, see `Body.start`.

        Failures are not retried: raises Transient, also while the body is read, and RangeRejected when the file ends
        before `start`.
        """
        self._require_network(asked := Asked(repo, commit, file))
        headers = dict(self._headers)
        if start or stop is not None:
            headers["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        url, timeout = self._url(repo, file, commit), constants.HF_HUB_DOWNLOAD_TIMEOUT
        with in_words(asked, self.endpoint), get_session().stream("GET", url, headers=headers, timeout=timeout) as got:
            if is_gone(got, self.endpoint):
                raise Transient("the hub's signed URL of this file has expired")
            hf_raise_for_status(got)
            # Without a chunk size, bytes are passed on as they arrive, so that a broken connection loses none.
            yield Body(_start(got), got.iter_bytes())

    def patience(self, subject: str, tries: int, tell: Tell) -> Patience:
        """Return a new counter of consecutive failures, with this hub's pause function."""
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
                f"{asked.subject} must be looked up on the hub, and localrouter is offline",
                hint="leave out --offline, unset LOCALROUTER_OFFLINE and HF_HUB_OFFLINE, or import a bundle",
            )

    def _url(self, repo: str, file: str, commit: str) -> str:
        return hf_hub_url(repo, file, revision=commit, endpoint=self.endpoint)


def _start(response: Response) -> int:
    """Return the offset in the file at which the body of a response begins."""
    if response.status_code != 206:
        return 0
    said = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if said is None:
        raise HubError("the server sent a part of the file without its range")
    return int(said[1])

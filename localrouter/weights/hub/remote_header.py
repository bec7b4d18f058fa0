"""GGUF headers of a build on the hub, read from the first megabytes of its files, each byte fetched once."""

from collections.abc import Sequence
from typing import Protocol

from localrouter.gguf.header import GgufHeader, NeedMore, parse_header
from localrouter.weights.manifest.pin import Pin

FIRST = 8 * 1024 * 1024
"""Bytes of the first request; a header with the vocabulary of Qwen or Gemma has 6 to 16 million."""
FIRST_OF_OTHERS = 1024 * 1024
"""Bytes of the first request for further parts of a split GGUF, which have no vocabulary."""


class Ranges(Protocol):
    """Reader of byte ranges; implemented by `weights.hub.hub_client.Hub`."""

    def read_range(self, repo: str, file: str, commit: str, start: int, stop: int) -> bytes:
        """Return the bytes from `start` up to `stop`, exclusive; fewer where the file ends before."""


def remote_header(ranges: Ranges, pin: Pin) -> GgufHeader:
    """Fetch and read the header of the first file of a pin. Raises GgufError, and what `ranges` raises."""
    first = pin.files[0]
    return _remote_header(ranges, pin.repo, pin.commit, first.name, min(FIRST, first.size))


def remote_headers(ranges: Ranges, repo: str, commit: str, files: Sequence[str]) -> list[GgufHeader]:
    """Fetch and read the headers of all files of a build. Raises GgufError, and what `ranges` raises."""
    return [
        _remote_header(ranges, repo, commit, file, FIRST_OF_OTHERS if number else FIRST)
        for number, file in enumerate(files)
    ]


def _remote_header(ranges: Ranges, repo: str, commit: str, file: str, stop: int) -> GgufHeader:
    data = ranges.read_range(repo, file, commit, 0, stop)
    name = f"{repo}/{file}"
    while isinstance(found := parse_header(data, name=name, size=len(data) if len(data) < stop else None), NeedMore):
        stop = found.bytes
        data += ranges.read_range(repo, file, commit, len(data), stop)
    return found

"""Facts of a build from the headers of its files, known before the model is loaded."""

from dataclasses import dataclass
from pathlib import Path

from localrouter.gguf.fim import has_fim_tokens
from localrouter.gguf.header import GgufError, read_headers
from localrouter.memory.shape import Shape, shape_of_headers
from localrouter.weights.build_location import Found
from localrouter.weights.build_shapes import Stamp, stamp


@dataclass(frozen=True)
class HeaderSummary:
    """Facts from the headers of a build."""

    shape: Shape
    chat_template: str | None
    """Chat template of the file; None without one."""
    has_fim: bool
    """Whether the vocabulary has tokens for fill-in-the-middle."""


class HeaderCache:
    """Cache of header summaries: a file is read again when its modification time or size changes."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Stamp, HeaderSummary | None]] = {}

    def summary(self, found: Found) -> HeaderSummary | None:
        """Return the facts of a build's files; None where a header cannot be read."""
        key = stamp(found)
        known = self._known.get(found.path)
        if known is None or known[0] != key:
            known = self._known[found.path] = (key, _summary(Path(found.path)))
        return known[1]


def _summary(path: Path) -> HeaderSummary | None:
    try:
        headers = read_headers(path)
        return HeaderSummary(shape_of_headers(headers), headers[0].chat_template, has_fim_tokens(path, headers[0]))
    except (GgufError, ValueError, OverflowError):
        return None

"""Format of the server's log on stderr: each record begins a line, and no text in it looks like another record."""

import logging
from types import TracebackType
from typing import TypeAlias

Raised: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]  # as sys.exc_info()
)


class LogFormat(logging.Formatter):
    """Writes the message of a record on one line, and a traceback on indented lines below it."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - a name of the standard library
        """Return the line of a record; a character that is not printable is written as its escape sequence."""
        return _printable(super().formatMessage(record))

    def formatException(self, ei: Raised) -> str:  # noqa: N802 - a name of the standard library
        """Return the lines of a traceback, indented."""
        return "\n".join(f"    {_printable(line)}" for line in super().formatException(ei).splitlines())


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)

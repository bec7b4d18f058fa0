"""Line numbers of keys in a TOML text, for error messages.

Not a TOML parser: it reads table headers and `key =` lines of a text that `tomllib` has already accepted. For a key
inside an inline table, the line of the enclosing key is returned.
"""

import re
from collections import Counter
from typing import TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]

_PART = r"""(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)"""
_DOTTED = rf"{_PART}(?:\s*\.\s*{_PART})*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_ASSIGNMENT = re.compile(rf"\s*({_DOTTED})\s*=")
_TRIPLE = re.compile(r"\"\"\"|'''")


class TomlLines:
    """Line numbers of all tables and keys of a text. `(a, 0, b)` is the key b in the first table of the array a."""

    def __init__(self, text: str) -> None:
        self.headers: dict[int, KeyPath] = {}
        """Path of the table that each header line opens, in the order of the text."""
        self._lines: dict[KeyPath, int] = {(): 1}
        self._tables: Counter[KeyPath] = Counter()
        self._table: KeyPath = ()
        inside_string = False
        for number, line in enumerate(text.split("\n"), 1):
            if not inside_string:
                self._read(line, number)
            if len(_TRIPLE.findall(line)) % 2:
                inside_string = not inside_string

    def line(self, path: KeyPath) -> int:
        """Return the line of this key, or of the nearest enclosing key or table."""
        while path not in self._lines:
            path = path[:-1]
        return self._lines[path]

    def _read(self, line: str, number: int) -> None:
        if header := _HEADER.match(line):
            self._enter(_split(header[2]), array=header[1] == "[[", number=number)
        elif assignment := _ASSIGNMENT.match(line):
            self._note(self._table + _split(assignment[1]), number)

    def _enter(self, path: KeyPath, *, array: bool, number: int) -> None:
        if array:
            self._note(path, number)
            self._tables[path] += 1
            path = (*path, self._tables[path] - 1)
        self._table = path
        self.headers[number] = path
        self._note(path, number)

    def _note(self, path: KeyPath, number: int) -> None:
        """Record the line of a path, and of its prefixes that have no line yet."""
        for length in range(1, len(path) + 1):
            self._lines.setdefault(path[:length], number)


def _split(dotted: str) -> KeyPath:
    return tuple(part.strip("\"'") for part in re.findall(_PART, dotted))

"""The body of a call as a reader sees it: what has come and was not taken yet, and waiting for more.

A reader is a generator. It yields None when it needs more text, so it reads like a parser of the whole text and goes on
wherever that was cut. What waits here untaken is never longer than the longest mark or literal that is looked for, so
that reading takes linear time.
"""

import re
from collections.abc import Collection, Generator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

T = TypeVar("T")
Waiting: TypeAlias = Generator[None, None, T]
"""Yields None for as long as it needs more text, then returns."""

WHITE = " \t\r\n"
"""White space; the same in JSON, in all syntaxes and next to marks."""
_DARK = re.compile(f"[^{WHITE}]")


class EndOfText(Exception):
    """The call has ended where more of it was needed."""


class Mismatch(Exception):
    """What comes next cannot be read as what was expected."""


@dataclass(frozen=True)
class Named:
    """The name of a called function; one that the request has."""

    name: str


Reading: TypeAlias = Generator[Named | str | None, None, None]
"""Reads one call: yields `Named` once, then pieces of its arguments' JSON, and None when it needs more text.

It returns after the call's last character, before the end mark. Raises `Mismatch` and `EndOfText`.
"""


class Finder:
    """Looks for the first of some marks. None of them is the beginning of another."""

    def __init__(self, *marks: str) -> None:
        self._pattern = re.compile("|".join(map(re.escape, marks)))
        self._beginnings = {mark[:end] for mark in marks for end in range(1, len(mark))}
        self._longest = max(map(len, self._beginnings), default=0)

    def search(self, text: str, start: int) -> re.Match[str] | None:
        """Return the first mark in `text` from `start` on."""
        return self._pattern.search(text, start)

    def certain(self, text: str, start: int) -> int:
        """Return the end of what cannot belong to a mark, in `text` that has no whole one from `start` on."""
        for begin in range(max(start, len(text) - self._longest), len(text)):
            if text[begin:] in self._beginnings:
                return begin
        return len(text)


class Source:
    """What has come of a call, taken from front to back."""

    def __init__(self) -> None:
        self._text = ""
        self._at = 0
        self._dropped = 0
        self._has_ended = False
        self._record: list[str] | None = None

    def add(self, text: str) -> None:
        """Append what has come."""
        self._text = self._text[self._at :] + text
        self._dropped += self._at
        self._at = 0

    @property
    def position(self) -> int:
        """How many characters of the call were taken."""
        return self._dropped + self._at

    def end(self) -> None:
        """Say that nothing more will come: waiting for more raises `EndOfText`."""
        self._has_ended = True

    def record(self) -> None:
        """Remember, from now on, what is taken."""
        self._record = []

    def recorded(self) -> str:
        """Return what was taken since `record`, and stop remembering it."""
        record, self._record = self._record or [], None
        return "".join(record)

    def take(self, count: int) -> str:
        """Take the next `count` characters, all of which have come."""
        taken = self._text[self._at : self._at + count]
        self._at += count
        if self._record is not None:
            self._record.append(taken)
        return taken

    def rest(self) -> str:
        """Take everything that has come."""
        return self.take(len(self._text) - self._at)

    def more(self) -> Waiting[None]:
        """Wait for more text."""
        if self._has_ended:
            raise EndOfText
        yield None

    def window(self) -> Waiting[tuple[str, int]]:
        """Wait until something is there. Return a text and where in it begins what was not taken."""
        while self._at == len(self._text):
            yield from self.more()
        return self._text, self._at

    def peek(self) -> Waiting[str]:
        """Return the next character without taking it."""
        text, at = yield from self.window()
        return text[at]

    def skip_white(self) -> Waiting[None]:
        """Take white space, up to the first other character."""
        while True:
            text, at = yield from self.window()
            found = _DARK.search(text, at)
            self.take((found.start() if found else len(text)) - at)
            if found:
                return

    def choose(self, literals: Collection[str]) -> Waiting[str | None]:
        """Take the one of `literals` that comes next, or nothing. None of them is the beginning of another."""
        longest = max(map(len, literals))
        while True:
            rest = self._text[self._at : self._at + longest]
            for literal in literals:
                if rest.startswith(literal):
                    return self.take(len(literal))
            if not any(literal.startswith(rest) for literal in literals):
                return None
            yield from self.more()

    def expect(self, *literals: str) -> Waiting[str]:
        """Take white space and one of `literals`. Raises Mismatch when something else comes, which is not taken."""
        yield from self.skip_white()
        literal = yield from self.choose(literals)
        if literal is None:
            raise Mismatch
        return literal

    def upto(self, finder: Finder) -> Waiting[tuple[str, str]]:
        """Take text that certainly comes before the next mark, and the mark, "" while it has not come.

        One of the two is not empty.
        """
        while True:
            found = finder.search(self._text, self._at)
            if found:
                return self.take(found.start() - self._at), self.take(len(found[0]))
            if certain := finder.certain(self._text, self._at) - self._at:
                return self.take(certain), ""
            yield from self.more()

    def through(self, finder: Finder) -> Waiting[tuple[str, str]]:
        """Take all text before the next mark, and the mark."""
        texts: list[str] = []
        mark = ""
        while not mark:
            text, mark = yield from self.upto(finder)
            texts.append(text)
        return "".join(texts), mark

"""The body of a tool call, fed piece by piece and taken from front to back by a reader.

A reader is a generator that yields None when it needs more text, so its code reads like a parser of the whole text.
Text that is not taken is never longer than the longest delimiter or literal that is searched, so that reading takes
linear time.
"""

import re
from collections.abc import Collection, Generator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

T = TypeVar("T")
Waiting: TypeAlias = Generator[None, None, T]
"""A generator that yields None for as long as more text is needed, then returns a value."""

WHITE = " \t\r\n"
"""White space, in JSON, in all syntaxes of calls and next to delimiters."""
_NOT_WHITE = re.compile(f"[^{WHITE}]")


class EndOfText(Exception):
    """The body of the call ended where more text was needed."""


class Mismatch(Exception):
    """The next text of the call is not what the syntax expects."""


@dataclass(frozen=True)
class Named:
    """The name of the called function, which is one of the request's."""

    name: str


Reading: TypeAlias = Generator[Named | str | None, None, None]
"""A reader of one call: yields `Named` once, then pieces of the arguments' JSON, and None when it needs more.

It returns after the call's last character, before the closing delimiter. Raises `Mismatch` and `EndOfText`.
"""


class Finder:
    """Searches for the first of some delimiters. No delimiter is the beginning of another."""

    def __init__(self, *delimiters: str) -> None:
        self._pattern = re.compile("|".join(map(re.escape, delimiters)))
        self._beginnings = {each[:end] for each in delimiters for end in range(1, len(each))}
        self._longest = max(map(len, self._beginnings), default=0)

    def search(self, text: str, start: int) -> re.Match[str] | None:
        """Return the match of the first delimiter in `text` from `start` on, or None."""
        return self._pattern.search(text, start)

    def certain(self, text: str, start: int) -> int:
        """Return the end of the text that cannot belong to a delimiter. From `start` on there is no whole delimiter."""
        for begin in range(max(start, len(text) - self._longest), len(text)):
            if text[begin:] in self._beginnings:
                return begin
        return len(text)


class Source:
    """Text of a call that has arrived, and how much of it was taken."""

    def __init__(self) -> None:
        self._text = ""
        self._at = 0
        self._dropped = 0
        self._has_ended = False
        self._record: list[str] | None = None

    def add(self, text: str) -> None:
        """Append text that has arrived."""
        self._text = self._text[self._at :] + text
        self._dropped += self._at
        self._at = 0

    @property
    def position(self) -> int:
        """Characters of the call that were taken."""
        return self._dropped + self._at

    def end(self) -> None:
        """Note that no more text will arrive: waiting for more raises `EndOfText`."""
        self._has_ended = True

    def record(self) -> None:
        """Begin to record the text that is taken."""
        self._record = []

    def recorded(self) -> str:
        """Return the text that was taken since `record`, and stop recording."""
        record, self._record = self._record or [], None
        return "".join(record)

    def take(self, count: int) -> str:
        """Take the next `count` characters, all of which have arrived."""
        taken = self._text[self._at : self._at + count]
        self._at += count
        if self._record is not None:
            self._record.append(taken)
        return taken

    def rest(self) -> str:
        """Take all text that has arrived."""
        return self.take(len(self._text) - self._at)

    def more(self) -> Waiting[None]:
        """Wait for more text."""
        if self._has_ended:
            raise EndOfText
        yield None

    def window(self) -> Waiting[tuple[str, int]]:
        """Wait until text is there. Return a text and the index in it of the first character that was not taken."""
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
            found = _NOT_WHITE.search(text, at)
            self.take((found.start() if found else len(text)) - at)
            if found:
                return

    def choose(self, literals: Collection[str]) -> Waiting[str | None]:
        """Take and return the literal that comes next, or return None. No literal is the beginning of another."""
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
        """Take white space and one of `literals`. Raises Mismatch, without taking it, for any other text."""
        yield from self.skip_white()
        literal = yield from self.choose(literals)
        if literal is None:
            raise Mismatch
        return literal

    def upto(self, finder: Finder) -> Waiting[tuple[str, str]]:
        """Take text that certainly comes before the next delimiter, and the delimiter, "" while it has not arrived.

        At least one of the two is not empty.
        """
        while True:
            found = finder.search(self._text, self._at)
            if found:
                return self.take(found.start() - self._at), self.take(len(found[0]))
            if certain := finder.certain(self._text, self._at) - self._at:
                return self.take(certain), ""
            yield from self.more()

    def through(self, finder: Finder) -> Waiting[tuple[str, str]]:
        """Take all text before the next delimiter, and the delimiter."""
        texts: list[str] = []
        delimiter = ""
        while not delimiter:
            text, delimiter = yield from self.upto(finder)
            texts.append(text)
        return "".join(texts), delimiter

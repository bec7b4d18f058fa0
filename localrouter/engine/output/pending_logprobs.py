"""Keeps the spans of an answer and the log probabilities of its tokens together, so that they are sent together.

Text goes out in whole tokens, and tokens that share a character go out together: then the bytes of the tokens that are
sent with a span are the bytes of that span. A token over the border of two spans is cut there.
"""

from collections import deque
from collections.abc import Iterable
from typing import TypeAlias

from msgspec.structs import replace

from localrouter.engine.messages import Logprob
from localrouter.engine.output.detokenizer import Detokenizer
from localrouter.engine.output.spans import Span

Told: TypeAlias = tuple[Span, tuple[Logprob, ...]]
"""A span, and the tokens that it is made of."""


class Logprobs:
    """The tokens of one answer whose text has not been sent."""

    def __init__(self) -> None:
        self._held = Span("")
        """What may be sent as soon as it makes up whole tokens."""
        self._groups: deque[tuple[int, list[Logprob]]] = deque()
        """Tokens that begin and end with a character, and how many characters they are."""
        self._open: list[Logprob] = []
        self._characters = 0

    def add(self, token: Logprob, characters: int, *, whole: bool) -> None:
        """Note a token that completes so many characters, and whether its last byte is the end of one."""
        self._open.append(token)
        self._characters += characters
        if whole:
            self._groups.append((self._characters, self._open))
            self._open, self._characters = [], 0

    def take(self, spans: Iterable[Span]) -> list[Told]:
        """Return what can be sent now that these spans may be, and the tokens of each."""
        told: list[Told] = []
        for span in spans:
            if self._held.joins(span):
                self._held = span._replace(text=self._held.text + span.text)
                continue
            told += self._border()
            self._held = span
        if self._held.edge:
            return told + self._border()
        whole = 0
        for characters, _ in self._groups:
            if whole + characters > len(self._held.text):
                break
            whole += characters
        if whole:
            told.append((self._held._replace(text=self._held.text[:whole]), self._cut(whole)))
            self._held = self._held._replace(text=self._held.text[whole:])
        return told

    def finish(self, spans: Iterable[Span]) -> list[Told]:
        """Return the rest of an answer that ends with `spans`. A token of which only the beginning is in it is cut."""
        told = [*self.take(spans), *self._border()]
        self._groups.clear()
        self._open = []
        return told

    def _border(self) -> list[Told]:
        """Return all that is held: its span has ended."""
        held, self._held = self._held, Span("")
        return [(held, self._cut(len(held.text)))] if held.text else []

    def _cut(self, characters: int) -> tuple[Logprob, ...]:
        """Take the tokens of the next so many characters; of one that goes on after these, the beginning."""
        taken: list[Logprob] = []
        while self._groups and self._groups[0][0] <= characters:
            count, group = self._groups.popleft()
            characters -= count
            taken += group
        if characters and self._groups:
            count, group = self._groups[0]
            before, after = _split(group, characters)
            self._groups[0] = (count - characters, after)
            taken += before
        elif characters:
            before, self._open = _split(self._open, characters)
            self._characters -= characters
            taken += before
        return tuple(taken)


def _split(tokens: Iterable[Logprob], characters: int) -> tuple[list[Logprob], list[Logprob]]:
    """Return the tokens of the first so many characters, and those of what comes after; one may be in both in part."""
    decoder = Detokenizer()
    before: list[Logprob] = []
    after: list[Logprob] = []
    for token in tokens:
        kept = 0
        for byte in token.piece:
            if characters <= 0:
                break
            characters -= len(decoder.feed(bytes([byte])))
            kept += characters >= 0  # a byte may complete two: U+FFFD for what was before it, and itself
        if kept:
            before.append(replace(token, piece=token.piece[:kept]))
        if kept < len(token.piece):
            after.append(replace(token, piece=token.piece[kept:]))
    return before, after

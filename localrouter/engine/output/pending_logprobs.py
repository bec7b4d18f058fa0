"""Pairs the spans of an output with the log probabilities of its tokens, so that they are sent together.

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

SpanTokens: TypeAlias = tuple[Span, tuple[Logprob, ...]]
"""A span and its tokens."""


class Logprobs:
    """Tokens of one output whose text has not been sent."""

    def __init__(self) -> None:
        self._held = Span("")
        """Text that can be sent as soon as it is made of whole tokens."""
        self._groups: deque[tuple[int, list[Logprob]]] = deque()
        """Groups of tokens that begin and end with a whole character, each with its number of characters."""
        self._open: list[Logprob] = []
        self._characters = 0

    def add(self, token: Logprob, characters: int, *, whole: bool) -> None:
        """Add a token that completes so many characters; `whole`: its last byte ends a character."""
        self._open.append(token)
        self._characters += characters
        if whole:
            self._groups.append((self._characters, self._open))
            self._open, self._characters = [], 0

    def take(self, spans: Iterable[Span]) -> list[SpanTokens]:
        """Take the next spans of the output; return those that can be sent, with the tokens of each."""
        ready: list[SpanTokens] = []
        for span in spans:
            if self._held.joins(span):
                self._held = span._replace(text=self._held.text + span.text)
                continue
            ready += self._end_span()
            self._held = span
        if self._held.edge:
            return ready + self._end_span()
        whole = 0
        for characters, _ in self._groups:
            if whole + characters > len(self._held.text):
                break
            whole += characters
        if whole:
            ready.append((self._held._replace(text=self._held.text[:whole]), self._cut(whole)))
            self._held = self._held._replace(text=self._held.text[whole:])
        return ready

    def finish(self, spans: Iterable[Span]) -> list[SpanTokens]:
        """Return the rest of an output that ends with `spans`. The bytes of a token beyond this end are cut off."""
        rest = [*self.take(spans), *self._end_span()]
        self._groups.clear()
        self._open = []
        return rest

    def _end_span(self) -> list[SpanTokens]:
        """Return the held text, whose span has ended, with its tokens."""
        held, self._held = self._held, Span("")
        return [(held, self._cut(len(held.text)))] if held.text else []

    def _cut(self, characters: int) -> tuple[Logprob, ...]:
        """Remove and return the tokens of the next so many characters; a token that goes on after these is cut."""
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
    """Return the tokens of the first so many characters, and the tokens after them; a token over the border is cut."""
    decoder = Detokenizer()
    before: list[Logprob] = []
    after: list[Logprob] = []
    for token in tokens:
        kept = 0
        for byte in token.piece:
            if characters <= 0:
                break
            characters -= len(decoder.feed(bytes([byte])))
            kept += characters >= 0  # a byte may complete two: U+FFFD for the bytes before it, and its own
        if kept:
            before.append(replace(token, piece=token.piece[:kept]))
        if kept < len(token.piece):
            after.append(replace(token, piece=token.piece[kept:]))
    return before, after

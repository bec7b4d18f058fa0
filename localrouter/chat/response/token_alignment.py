"""Aligns the tokens of an output with its text."""

import codecs
from collections.abc import Iterator
from typing import NamedTuple

from localrouter.engine.messages import Logprob, Piece


class AlignedToken(NamedTuple):
    """A token and the characters of the output that it is part of, from `start` up to `end`.

    Tokens that share one character have the same place.
    """

    token: Logprob
    start: int
    end: int


class TokenAlignment:
    """Places the tokens of one output, piece by piece."""

    def __init__(self, start: int = 0) -> None:
        """`start` is the number of characters before the output."""
        self._end = start
        """Characters so far."""

    def add(self, piece: Piece) -> list[AlignedToken]:
        """Return the tokens of the next piece with their places."""
        start = self._end
        self._end += len(piece.text)
        return list(_aligned(piece, start, self._end)) if piece.logprobs else []


def _aligned(piece: Piece, start: int, end: int) -> Iterator[AlignedToken]:
    """Yield the tokens of a piece that reaches from `start` to `end`."""
    decoder, group = codecs.getincrementaldecoder("utf-8")(errors="replace"), list[Logprob]()
    for token in piece.logprobs:
        group.append(token)
        if characters := len(decoder.decode(token.piece)):
            yield from (AlignedToken(each, start, start + characters) for each in group)
            start += characters
            group = []
    yield from (AlignedToken(each, start, end) for each in group)

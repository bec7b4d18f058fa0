"""Special-token escaping: text of the client stays text, and only text of the template may become control tokens.

Before a template runs, a random sentinel is put inside every control token that the client's strings spell out, and
inside pieces of control tokens where the template writes the rest around them (`'<' ~ key ~ '>'`). Afterwards the
sentinels are removed; a control token that had one inside is the client's.

A sentinel is digits alone: no filter of a template changes them (`upper`, `tojson`, `trim`, `escape`).
"""

import re
import secrets
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

from localrouter.engine.generation_request import Segment


class Escaping:
    """Escapes the control tokens of one model in the values that its chat template receives."""

    def __init__(self, tokens: Sequence[str], written: Iterable[str] = (), names: Iterable[str] = ()):
        """`written`: texts that the template writes. `names`: words that it compares with or looks up; not escaped."""
        known = {token for token in tokens if token}
        texts = list(written)
        self._tokens = _any_of(known)
        self._beginnings = {token[:size] for token in known for size in range(1, len(token))}
        self._endings = {token[size:] for token in known for size in range(1, len(token))}
        self._begins = any(_size(text, self._beginnings, at_end=True) for text in texts)
        self._ends = any(_size(text, self._endings, at_end=False) for text in texts)
        self._middles = _middles(known) if self._begins and self._ends else frozenset()
        self._names = {name.lower() for name in names}

    def escaped(self, value: Any, sentinel: str) -> Any:
        """Return a copy of `value`, JSON of any depth, with sentinels in its strings and keys where necessary."""
        if self._tokens is None:
            return value
        if isinstance(value, str):
            return self._escaped_text(value, sentinel)
        if isinstance(value, Mapping):
            return {self.escaped(key, sentinel): self.escaped(item, sentinel) for key, item in value.items()}
        if isinstance(value, list):
            return [self.escaped(item, sentinel) for item in value]
        return value

    def segments(self, text: str, sentinel: str) -> list[Segment]:
        """Return a prompt without its sentinels, cut into segments that may become control tokens and others."""
        if self._tokens is None or sentinel not in text:
            return [Segment(text, control=True)] if text else []
        parts = text.split(sentinel)
        places = list(accumulate(map(len, parts)))[:-1]
        return _split("".join(parts), self._tokens, places)

    def _escaped_text(self, text: str, sentinel: str) -> str:
        assert self._tokens is not None
        text = self._tokens.sub(lambda found: found[0][0] + sentinel + found[0][1:], text)
        if not (self._begins or self._ends) or not (core := text.strip()) or core.lower() in self._names:
            return text
        start = text.index(core)
        cuts = sorted(start + place for place in self._places(core))
        return sentinel.join(text[begin:end] for begin, end in pairwise([0, *cuts, len(text)]))

    def _places(self, core: str) -> set[int]:
        """Return where sentinels keep the edges of a text from forming a control token with the template's text."""
        places = {1} if core in self._middles else set()
        if self._begins and (size := _size(core, self._endings, at_end=False)):
            places.add(min(1, size - 1))
        if self._ends and (size := _size(core, self._beginnings, at_end=True)):
            places.add(len(core) - size + 1)
        return places


def new_sentinel() -> str:
    """Return a sentinel that a client cannot guess: 24 random digits."""
    return f"{secrets.randbelow(9 * 10**23) + 10**23}"


def _split(text: str, control: re.Pattern[str], sentinels: Sequence[int]) -> list[Segment]:
    """Return `text` in segments, so that control tokens with a sentinel inside are in segments of plain text.

    `sentinels` are their indices, in order. A plain segment reaches from one real control token to the next: cut
    anywhere else, the tokenizer would see a border inside a word.
    """
    segments: list[Segment] = []
    start = plain_from = 0
    has_written = False
    for found in control.finditer(text):
        after = bisect_right(sentinels, found.start())
        if after < len(sentinels) and sentinels[after] < found.end():
            has_written = True
            continue
        if has_written:
            segments += [
                Segment(text[start:plain_from], control=True),
                Segment(text[plain_from : found.start()], control=False),
            ]
            start = found.start()
        plain_from, has_written = found.end(), False
    if has_written:
        segments += [Segment(text[start:plain_from], control=True), Segment(text[plain_from:], control=False)]
    else:
        segments.append(Segment(text[start:], control=True))
    return [segment for segment in segments if segment.text]


def _middles(tokens: Iterable[str]) -> frozenset[str]:
    """Return all parts of tokens that have neither the token's first character nor its last."""
    return frozenset(
        token[start:end] for token in tokens for start in range(1, len(token)) for end in range(start + 1, len(token))
    )


def _size(text: str, some: Collection[str], *, at_end: bool) -> int:
    """Return the length of the longest of `some` that `text` ends with (`at_end`) or begins with; 0 for none."""
    longest = max(map(len, some), default=0)
    sizes = range(min(len(text), longest), 0, -1)
    return next((size for size in sizes if (text[-size:] if at_end else text[:size]) in some), 0)


Tree = dict[str, "Tree"]


def _any_of(tokens: Iterable[str]) -> re.Pattern[str] | None:
    """Return a pattern that matches the longest of `tokens` at a place, or None where there are none.

    The pattern is a tree of their characters: trying hundreds of alternatives at each `<` of a hostile
    text would take minutes.
    """
    root: Tree = {}
    for token in tokens:
        node = root
        for character in token:
            node = node.setdefault(character, {})
        node[""] = {}
    return re.compile(_pattern(root)) if root else None


def _pattern(node: Tree) -> str:
    branches = [re.escape(character) + _pattern(below) for character, below in sorted(node.items()) if character]
    if not branches:
        return ""
    inner = "|".join(branches)
    return f"(?:{inner})?" if "" in node else (f"(?:{inner})" if len(branches) > 1 else inner)

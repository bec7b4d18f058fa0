"""JSON that arrives in pieces: whether it is valid so far, and where a value ends. Only open brackets are kept."""

import json
import re
from collections.abc import Iterator

from localrouter.chat.parsing.source import WHITE, Finder, Mismatch, Source, Waiting

_PLAIN = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]+')
_FIRST = {'"': "string", "-": "minus", "0": "zero", **dict.fromkeys("123456789", "integer"), **{c: c for c in "tfn"}}
"""State of a scalar after its first character."""


def _scalars() -> dict[str, dict[str, str]]:
    """Return, for every state inside a scalar, the next state for each character; the last character's is "done"."""
    power = dict.fromkeys("eE", "exponent")
    table = {
        "string": {'"': "done", "\\": "escape"},
        "escape": {**dict.fromkeys('"\\/bfnrt', "string"), "u": "hex1"},
        "minus": {"0": "zero", **dict.fromkeys("123456789", "integer")},
        "zero": {".": "point", **power},
        "integer": {".": "point", **dict.fromkeys("0123456789", "integer"), **power},
        "point": dict.fromkeys("0123456789", "fraction"),
        "fraction": {**dict.fromkeys("0123456789", "fraction"), **power},
        "exponent": {**dict.fromkeys("+-", "sign"), **dict.fromkeys("0123456789", "power")},
        "sign": dict.fromkeys("0123456789", "power"),
        "power": dict.fromkeys("0123456789", "power"),
    }
    for digit, following in (("hex1", "hex2"), ("hex2", "hex3"), ("hex3", "hex4"), ("hex4", "string")):
        table[digit] = dict.fromkeys("0123456789abcdefABCDEF", following)
    for word in ("true", "false", "null"):
        for end in range(1, len(word)):
            table[word[:end]] = {word[end]: word[: end + 1] if end + 1 < len(word) else "done"}
    return table


_NEXT = _scalars()
_NUMBER = {"zero", "integer", "fraction", "power"}
"""States in which a number may end."""


class JsonScanner:
    """Scans one JSON value. The end of a number only shows in the character after it."""

    def __init__(self) -> None:
        self.is_complete = False
        """Whether the value has ended."""
        self._open: list[str] = []
        """Closing brackets that are missing, the next one last."""
        self._state = "value"
        self._is_key = False

    @property
    def may_end(self) -> bool:
        """Whether the text so far is a whole value."""
        return self.is_complete or (not self._open and self._state in _NUMBER)

    def scan(self, text: str, start: int) -> int:
        """Return the index after the last character that belongs to the value, in `text` from `start` on.

        Where this is not the end of `text`, either the value is complete or the next character is an error.
        """
        at = start
        while at < len(text) and not self.is_complete:
            plain = _PLAIN.match(text, at) if self._state == "string" else None
            if plain:
                at = plain.end()
            elif self._step(text[at]):
                at += 1
            else:
                break
        return at

    def _step(self, char: str) -> bool:
        """Scan one character; return whether it belongs to the value."""
        following = _NEXT.get(self._state, {}).get(char)
        if following == "done":
            self._end_scalar()
        elif following:
            self._state = following
        elif self._state in _NUMBER:
            self._end_scalar()
            return not self.is_complete and self._step(char)
        elif self._state in _NEXT:
            return False
        else:
            return char in WHITE or self._structure(char)
        return True

    def _structure(self, char: str) -> bool:
        """Scan a character between scalars that is not white space; return whether it belongs to the value."""
        state = self._state
        if char == self._closing:
            self._open.pop()
            self._end_value()
        elif state in ("colon", "after"):
            if char != {"colon": ":", "after": ","}[state]:
                return False
            self._state = "key" if state == "after" and self._open[-1] == "}" else "value"
        elif state in ("key", "first key"):
            if char != '"':
                return False
            self._is_key, self._state = True, "string"
        elif char in "{[":
            self._open.append("}" if char == "{" else "]")
            self._state = "first key" if char == "{" else "first"
        else:
            self._state = _FIRST.get(char, state)
            return char in _FIRST
        return True

    @property
    def _closing(self) -> str | None:
        """The bracket that may close a container now."""
        return self._open[-1] if self._open and self._state in ("first", "first key", "after") else None

    def _end_scalar(self) -> None:
        if self._is_key:
            self._is_key, self._state = False, "colon"
        else:
            self._end_value()

    def _end_value(self) -> None:
        self._state = "after"
        self.is_complete = not self._open


def is_json(text: str) -> bool:
    """Return whether `text` is one value, without white space around it."""
    scanner = JsonScanner()
    return bool(text) and text[0] not in WHITE and scanner.scan(text, 0) == len(text) and scanner.may_end


def kind_of(text: str) -> str:
    """Return the JSON Schema type of a value's text; a number without point and exponent is an integer."""
    kinds = {'"': "string", "{": "object", "[": "array", "t": "boolean", "f": "boolean", "n": "null"}
    return kinds.get(text[0]) or ("number" if any(char in ".eE" for char in text) else "integer")


def escaped(text: str) -> str:
    """Return `text` escaped as inside the quotes of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def json_value(source: Source) -> Iterator[str | None]:
    """Read a value: yield pieces of its text, and None when more is needed. Raises Mismatch where it is not JSON."""
    scanner = JsonScanner()
    while not scanner.is_complete:
        text, at = yield from source.window()
        end = scanner.scan(text, at)
        if end > at:
            yield source.take(end - at)
        elif not scanner.is_complete:
            raise Mismatch


def whole_value(source: Source) -> Waiting[str]:
    """Read a value and return its text. Raises Mismatch for text that is not JSON."""
    pieces = []
    for piece in json_value(source):
        if piece is None:
            yield None
        else:
            pieces.append(piece)
    return "".join(pieces)


def string_value(source: Source) -> Waiting[str]:
    """Read white space and a JSON string, and return its value. Raises Mismatch for any other text."""
    yield from source.skip_white()
    if (yield from source.peek()) != '"':
        raise Mismatch
    return str(json.loads((yield from whole_value(source))))


def quoted(source: Source, end: Finder) -> Iterator[str | None]:
    """Take raw text and the delimiter after it: yield pieces of a JSON string, and None when more is needed."""
    yield '"'
    delimiter = ""
    while not delimiter:
        text, delimiter = yield from source.upto(end)
        if text:
            yield escaped(text)
    yield '"'

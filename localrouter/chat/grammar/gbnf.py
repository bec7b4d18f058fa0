"""Reads GBNF, the grammar language of llama.cpp: rules `name ::= ...`, of which `root` is the whole output.

Supported are literals, sets of characters, `.`, groups, alternatives, `*`, `+`, `?`, `{m}`, `{m,}`, `{m,n}`, comments,
and the escapes `\\x41`, `\\u20ac`, `\\U0001f600`, `\\n`, `\\r`, `\\t`, `\\\\`, `\\"`, `\\[`, `\\]`. Tokens by number
(`<[1000]>`) or by text (`<think>`) are rejected. Line ends mean nothing: a rule ends where the next one begins.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

MAX_SIZE = 30_000
"""Characters and operators of all rules; llguidance compiles hardly as many."""
MAX_DEPTH = 50
"""Groups inside each other."""
MAX_TIMES = 100_000
"""Largest number of a repetition."""

_RULE = re.compile(r"^[ \t]*[A-Za-z0-9_-]+\s*::=", re.MULTILINE)
_TOKEN = re.compile(
    r"""(?P<blank>\s+|\#[^\r\n]*)
    | (?P<define>::=)
    | "(?P<text>[^"\\]*(?:\\.[^"\\]*)*)"
    | \[(?P<set>[^\]\\]*(?:\\.[^\]\\]*)*)\]
    | (?P<name>[A-Za-z0-9_-]+)
    | \{(?P<times>[^{}]{1,40})\}
    | (?P<sign>[|()*+?.])
    """,
    re.VERBOSE | re.DOTALL,
)
_CHARACTER = re.compile(
    r"""[^\\] | \\(?: x(?P<two>[0-9a-fA-F]{2}) | u(?P<four>[0-9a-fA-F]{4}) | U(?P<eight>[0-9a-fA-F]{8})
    | (?P<letter>[nrt]) | (?P<itself>[\\"\[\]]) )""",
    re.VERBOSE | re.DOTALL,
)
_NUMBER = re.compile("[0-9]{1,6}")
_LETTERS = {"n": 10, "r": 13, "t": 9}


class GbnfError(Exception):
    """A mistake in a grammar; the message says where it is."""


@dataclass(frozen=True, eq=False, slots=True)
class Characters:
    """One character of a set."""

    ranges: tuple[tuple[int, int], ...]
    """First and last character of each range."""
    negated: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Text:
    """A text, which may be empty."""

    text: str


@dataclass(frozen=True, eq=False, slots=True)
class Reference:
    """A rule by its name."""

    name: str


@dataclass(frozen=True, eq=False, slots=True)
class Series:
    """Several expressions one after the other."""

    items: "tuple[Node, ...]"


@dataclass(frozen=True, eq=False, slots=True)
class Choice:
    """One of several expressions."""

    items: "tuple[Node, ...]"


@dataclass(frozen=True, eq=False, slots=True)
class Repetition:
    """An expression from `least` to `most` times; None: without limit."""

    item: "Node"
    least: int
    most: int | None


Node: TypeAlias = Characters | Text | Reference | Series | Choice | Repetition
"""An expression. Equal expressions at different places differ."""

ANY = Characters(((0, 0x10FFFF),))


def is_gbnf(grammar: str) -> bool:
    """Return whether a grammar is GBNF: Lark has no line that begins with `name ::=`."""
    return _RULE.search(grammar) is not None


def read_gbnf(grammar: str) -> Mapping[str, Node]:
    """Return the rules by their names; all rules that they refer to are there, and `root`. Raises GbnfError."""
    rules = _Reader(grammar).rules()
    if "root" not in rules:
        raise GbnfError("there is no rule 'root'")
    return rules


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    match: re.Match[str]


class _Reader:
    """Reads the rules of one grammar, in time linear in its length."""

    def __init__(self, grammar: str) -> None:
        self._grammar = grammar
        self._size = 0
        self._tokens = list(self._cut())
        self._at = 0
        self._depth = 0
        self._references: dict[str, int] = {}
        """Places of names that are referred to."""

    def rules(self) -> dict[str, Node]:
        found: dict[str, Node] = {}
        while self._at < len(self._tokens):
            name = self._tokens[self._at]
            if not self._begins_rule():
                raise self._error(f"expected a rule, not '{name.text[:40]}'", name.start)
            if name.text in found:
                raise self._error(f"the rule '{name.text}' is defined twice", name.start)
            self._at += 2
            found[name.text] = self._choice()
        for missing in self._references.keys() - found.keys():
            raise self._error(f"there is no rule '{missing}'", self._references[missing])
        return found

    def _cut(self) -> Iterator[_Token]:
        place = 0
        while place < len(self._grammar):
            match = _TOKEN.match(self._grammar, place)
            if match is None:
                raise self._error(f"'{self._grammar[place : place + 20]}' is not understood", place)
            kind = match.lastgroup or ""
            if kind != "blank":
                self._size += 1 + len(match["text"] or match["set"] or "")
                if self._size > MAX_SIZE:
                    raise GbnfError(f"it is too large: more than {MAX_SIZE} characters and operators")
                yield _Token(kind, match[0], place, match)
            place = match.end()

    def _begins_rule(self) -> bool:
        following = self._tokens[self._at : self._at + 2]
        return [token.kind for token in following] == ["name", "define"]

    def _sign(self) -> str:
        """Return the next token if it is an operator, without taking it."""
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        return token.text if token is not None and token.kind == "sign" else ""

    def _choice(self) -> Node:
        items = [self._series()]
        while self._sign() == "|":
            self._at += 1
            items.append(self._series())
        return items[0] if len(items) == 1 else Choice(tuple(items))

    def _series(self) -> Node:
        items: list[Node] = []
        while (
            self._at < len(self._tokens) and self._sign() not in ("|", ")", "*", "+", "?") and not self._begins_rule()
        ):
            items.append(self._repeated(self._item()))
        return items[0] if len(items) == 1 else Series(tuple(items)) if items else Text("")

    def _item(self) -> Node:
        token = self._tokens[self._at]
        self._at += 1
        match token.kind:
            case "text":
                codes = self._codes(token.match["text"], token.start + 1)
                return Text("".join(chr(code) for code, _ in codes))
            case "set":
                return self._set(token)
            case "name":
                self._references.setdefault(token.text, token.start)
                return Reference(token.text)
            case "sign" if token.text == ".":
                return ANY
            case "sign" if token.text == "(":
                return self._group(token)
        raise self._error(f"'{token.text[:40]}' is out of place", token.start)

    def _group(self, token: _Token) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"groups are nested deeper than {MAX_DEPTH} levels", token.start)
        item = self._choice()
        self._depth -= 1
        if self._sign() != ")":
            raise self._error("this group has no end", token.start)
        self._at += 1
        return item

    def _repeated(self, item: Node) -> Node:
        signs = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            if token.text in signs:
                least, most = signs[token.text]
            elif token.kind == "times":
                least, most = self._times(token)
            else:
                break
            self._at += 1
            self._depth += isinstance(item, Repetition)
            if self._depth > MAX_DEPTH:
                raise self._error("there are too many repetitions of repetitions", token.start)
            item = Repetition(item, least, most)
        return item

    def _times(self, token: _Token) -> tuple[int, int | None]:
        first, comma, last = (part.strip() for part in token.match["times"].partition(","))
        if not _NUMBER.fullmatch(first) or (last and not _NUMBER.fullmatch(last)):
            raise self._error(f"'{token.text}' is not understood", token.start)
        least = int(first)
        most = int(last) if last else None if comma else least
        if max(least, most or 0) > MAX_TIMES or (most is not None and most < least):
            raise self._error(f"'{token.text}' repeats nothing that often", token.start)
        return least, most

    def _set(self, token: _Token) -> Node:
        inside = token.match["set"]
        negated = inside.startswith("^")
        codes = self._codes(inside[negated:], token.start + 1 + negated)
        ranges: list[tuple[int, int]] = []
        at = 0
        while at < len(codes):
            is_range = at + 2 < len(codes) and codes[at + 1] == (ord("-"), False)
            first, last = codes[at][0], codes[at + 2 * is_range][0]
            if last < first:
                raise self._error(f"'{token.text[:40]}' has a range that ends before it begins", token.start)
            ranges.append((first, last))
            at += 3 if is_range else 1
        if not ranges:
            raise self._error("a set of characters is empty", token.start)
        return Characters(tuple(ranges), negated)

    def _codes(self, text: str, start: int) -> list[tuple[int, bool]]:
        """Return the characters of a literal or a set, each with whether it was escaped."""
        found: list[tuple[int, bool]] = []
        place = 0
        while place < len(text):
            match = _CHARACTER.match(text, place)
            if match is None:
                raise self._error(f"the escape '{text[place : place + 2]}' is not known", start + place)
            place = match.end()
            found.append((_code(match), match[0][0] == "\\"))
            if found[-1][0] > 0x10FFFF or 0xD800 <= found[-1][0] <= 0xDFFF:
                raise self._error(f"'{match[0]}' is not a character", start + match.start())
        return found

    def _error(self, message: str, place: int) -> GbnfError:
        line = self._grammar.count("\n", 0, place) + 1
        return GbnfError(f"line {line}: {message}")


def _code(match: re.Match[str]) -> int:
    """Return the number of the character that an escape, or itself, stands for."""
    digits = match["two"] or match["four"] or match["eight"]
    if digits:
        return int(digits, 16)
    return _LETTERS[match["letter"]] if match["letter"] else ord(match["itself"] or match[0])

"""Position automata of regular expressions (Glushkov 1961), to see where a lexer that takes the longest match errs.

Characters count by kind: each ASCII character is a bit, and all others share one. Repetitions count as unlimited. So an
automaton matches at least what its expression matches, and an error of the lexer is never overlooked.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from localrouter.chat.grammar.gbnf import Characters, Choice, Node, Reference, Repetition, Series, Text

MAX_STEPS = 20_000
"""Steps that may be spent on one grammar, about a tenth of a second; JSON takes a few thousand."""
MAX_DEPTH = 200
"""Expressions and rules inside each other."""
_ASCII = 128
_OTHERS = 1 << _ASCII
_ALL = (_OTHERS << 1) - 1


class TooMuch(Exception):
    """A grammar takes too many steps to be looked into."""


class Steps:
    """Counts steps."""

    def __init__(self, most: int = MAX_STEPS) -> None:
        self._left = most

    def take(self, count: int = 1) -> None:
        """Count some steps. Raises TooMuch beyond the limit."""
        self._left -= count
        if self._left < 0:
            raise TooMuch


def kinds_of(characters: Characters) -> int:
    """Return the kinds of a set of characters, as bits."""
    bits = 0
    for first, last in characters.ranges:
        low, high = min(first, _ASCII), min(last + 1, _ASCII)
        bits |= (1 << high) - (1 << low)
        bits |= _OTHERS if last >= _ASCII else 0
    return (_ALL & ~bits) | _OTHERS if characters.negated else bits


def kind_of(character: str) -> int:
    """Return the kind of a character, as a bit."""
    return 1 << min(ord(character), _ASCII)


@dataclass
class Automaton:
    """The positions of an expression, one for each character in it, and which follow each other."""

    kinds: list[int] = field(default_factory=list)
    """Kinds of characters at each position."""
    following: list[set[int]] = field(default_factory=list)
    """Positions that may follow each position."""
    first: frozenset[int] = frozenset()
    last: frozenset[int] = frozenset()
    is_nullable: bool = False
    """Whether the expression matches the empty text."""

    @cached_property
    def first_kinds(self) -> int:
        """Kinds of characters that a match begins with."""
        return self._kinds_at(self.first)

    @cached_property
    def later_kinds(self) -> int:
        """Kinds of characters that a match has after its first."""
        return self._kinds_at({after for some in self.following for after in some})

    def _kinds_at(self, positions: frozenset[int] | set[int]) -> int:
        bits = 0
        for position in positions:
            bits |= self.kinds[position]
        return bits


@dataclass(frozen=True, slots=True)
class _Part:
    first: frozenset[int]
    last: frozenset[int]
    is_nullable: bool


_EMPTY = _Part(frozenset(), frozenset(), True)


class AutomatonBuilder:
    """Makes automata of expressions that refer to no rule which is part of itself."""

    def __init__(self, rules: Mapping[str, Node], steps: Steps) -> None:
        self._rules = rules
        self._steps = steps
        self._depth = 0
        self._made = Automaton()

    def automaton(self, node: Node) -> Automaton:
        """Return the automaton of an expression. Raises TooMuch."""
        self._made = Automaton()
        self._depth = 0
        part = self._part(node)
        self._made.first, self._made.last, self._made.is_nullable = part.first, part.last, part.is_nullable
        return self._made

    def _part(self, node: Node) -> _Part:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise TooMuch
        try:
            return self._part_of(node)
        finally:
            self._depth -= 1

    def _part_of(self, node: Node) -> _Part:
        match node:
            case Characters():
                return self._position(kinds_of(node))
            case Text(text):
                return self._series([self._position(kind_of(character)) for character in text])
            case Reference(name):
                return self._part(self._rules[name])
            case Series(items):
                return self._series([self._part(item) for item in items])
            case Choice(items):
                parts = [self._part(item) for item in items]
                return _Part(
                    frozenset().union(*(part.first for part in parts)),
                    frozenset().union(*(part.last for part in parts)),
                    any(part.is_nullable for part in parts),
                )
            case Repetition(item, least, most):
                return self._repetition(self._part(item), least, most)

    def _position(self, kinds: int) -> _Part:
        self._steps.take()
        self._made.kinds.append(kinds)
        self._made.following.append(set())
        only = frozenset([len(self._made.kinds) - 1])
        return _Part(only, only, False)

    def _series(self, parts: list[_Part]) -> _Part:
        whole = _EMPTY
        for part in parts:
            self._follow(whole.last, part.first)
            whole = _Part(
                whole.first | part.first if whole.is_nullable else whole.first,
                whole.last | part.last if part.is_nullable else part.last,
                whole.is_nullable and part.is_nullable,
            )
        return whole

    def _repetition(self, part: _Part, least: int, most: int | None) -> _Part:
        if most == 0:
            return _EMPTY
        if most != 1:
            self._follow(part.last, part.first)
        return _Part(part.first, part.last, part.is_nullable or least == 0)

    def _follow(self, before: frozenset[int], after: frozenset[int]) -> None:
        self._steps.take(len(before) * len(after))
        for position in before:
            self._made.following[position] |= after


def overruns(short: Automaton, after: int, long: Automaton, steps: Steps) -> bool:
    """Return whether a match of `short` may be continued as one of `long` by a character of the kinds `after`.

    These are the characters that may follow `short`: where both readings are possible, a lexer takes the longer one.
    Raises TooMuch.
    """
    steps.take()
    if not after & long.later_kinds or not short.first_kinds & long.first_kinds:
        return False
    open_pairs = [(one, other) for one in short.first for other in long.first if short.kinds[one] & long.kinds[other]]
    seen = set(open_pairs)
    while open_pairs:
        one, other = open_pairs.pop()
        steps.take(1 + len(short.following[one]) * len(long.following[other]))
        if one in short.last and any(after & long.kinds[further] for further in long.following[other]):
            return True
        for pair in ((a, b) for a in short.following[one] for b in long.following[other]):
            if pair not in seen and short.kinds[pair[0]] & long.kinds[pair[1]]:
                seen.add(pair)
                open_pairs.append(pair)
    return False

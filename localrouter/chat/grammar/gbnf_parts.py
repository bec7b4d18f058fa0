"""Divides a GBNF grammar into terminals, which a lexer finds, and rules, so that the longest match is never wrong.

The lexer of llguidance cuts an output into terminals and takes the longest one, so that `[a-z]+ "b"` as two terminals
would never see its `b`. The longest parts of a grammar without recursion become terminals, as long as none can take
characters that belong to what follows. A part that can is divided, down to single characters if need be; the fewer the
better, because a mask for single characters takes a hundred times as long.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from localrouter.chat.grammar.gbnf import Characters, Choice, Node, Reference, Repetition, Series, Text
from localrouter.chat.grammar.gbnf_automata import Automaton, AutomatonBuilder, Steps, TooMuch, overruns


@dataclass(frozen=True, eq=False, slots=True)
class Terminal:
    """A part that a lexer finds."""

    node: Node
    divisible: Node | None = None
    """Expression that is divided where this terminal is too long; None for a single character."""


@dataclass(frozen=True, eq=False, slots=True)
class Rule:
    """A reference to a rule."""

    name: str


@dataclass(frozen=True, eq=False, slots=True)
class Group:
    """Parts one after the other, or one of several."""

    items: "list[Part]"
    is_choice: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Repeated:
    """A part that may occur several times."""

    item: "Part"
    least: int
    most: int | None


Part: TypeAlias = Terminal | Rule | Group | Repeated


def parts_of(rules: Mapping[str, Node]) -> dict[str, Part]:
    """Return the parts of `root` and of all rules that these refer to as rules; others are within terminals."""
    divider = _Divider(rules)
    steps = Steps()
    automata = _Automata(AutomatonBuilder(rules, steps))
    parts = divider.parts()
    if isinstance(parts["root"], Terminal):
        return parts
    try:
        while too_long := _Overruns(parts := divider.parts(), automata, steps).found():
            divider.divided |= too_long
    except TooMuch:
        divider.divides_all = True
        parts = divider.parts()
    return parts


class _Automata:
    """Automata of terminals, each made once."""

    def __init__(self, builder: AutomatonBuilder) -> None:
        self._builder = builder
        self._made: dict[Node, Automaton] = {}

    def of(self, terminal: Terminal) -> Automaton:
        """Return the automaton of a terminal. Raises TooMuch."""
        made = self._made.get(terminal.node)
        if made is None:
            made = self._made[terminal.node] = self._builder.automaton(terminal.node)
        return made


class _Divider:
    """Divides the rules of one grammar into parts."""

    def __init__(self, rules: Mapping[str, Node]) -> None:
        self.divided: set[Node] = set()
        """Expressions that are no terminal, and of which no neighbours are one."""
        self.divides_all = False
        """Whether single characters are the only terminals."""
        self._rules = rules
        self._regular = _regular(rules)
        self._joined: dict[tuple[Node, ...], Node] = {}

    def parts(self) -> dict[str, Part]:
        """Return the parts of `root`, and of the rules that these need, by name."""
        found: dict[str, Part] = {}
        wanted = ["root"]
        while wanted:
            name = wanted.pop()
            if name not in found:
                found[name] = self._part(self._rules[name])
                wanted += [each.name for each in walk(found[name]) if isinstance(each, Rule)]
        return found

    def _part(self, node: Node) -> Part:
        if self._is_whole(node):
            return Terminal(node, node)
        match node:
            case Characters():
                return Terminal(node)
            case Text(text):
                return Group([Terminal(Text(character)) for character in text]) if text else Terminal(node)
            case Reference(name):
                return Rule(name)
            case Repetition(item, least, most):
                return Repeated(self._part(item), least, most)
            case Series(items) | Choice(items):
                return Group(list(self._neighbours(node, items)), isinstance(node, Choice))

    def _neighbours(self, node: Series | Choice, items: tuple[Node, ...]) -> Iterator[Part]:
        """Yield the parts of several items, with neighbours joined to one terminal."""
        run: list[Node] = []
        for item in items:
            if self._is_whole(item) and node not in self.divided:
                run.append(item)
                continue
            yield from self._run(node, run)
            yield self._part(item)
            run = []
        yield from self._run(node, run)

    def _run(self, node: Series | Choice, run: list[Node]) -> Iterator[Part]:
        if len(run) > 1:
            joined = self._joined.setdefault(tuple(run), type(node)(tuple(run)))
            yield Terminal(joined, node)
        elif run:
            yield self._part(run[0])

    def _is_whole(self, node: Node) -> bool:
        """Return whether an expression may be one terminal."""
        return not self.divides_all and node not in self.divided and all(name in self._regular for name in _names(node))


class _Overruns:
    """Finds the terminals of a grammar that can take characters of what follows another one, or itself."""

    def __init__(self, parts: Mapping[str, Part], automata: _Automata, steps: Steps) -> None:
        self._parts = parts
        self._automata = automata
        self._steps = steps
        self._first: dict[str, tuple[int, bool]] = dict.fromkeys(parts, (0, False))
        """Kinds of characters that begin each rule, and whether it matches the empty text."""
        self._after_rule = dict.fromkeys(parts, 0)
        self._after: dict[Terminal, int] = {}
        """Kinds of characters that may follow each terminal."""
        self._is_changed = False

    def found(self) -> set[Node]:
        """Return the expressions to divide; none if a lexer errs nowhere. Raises TooMuch."""
        self._is_changed = True
        while self._is_changed:
            self._is_changed = False
            for name in self._parts:
                self._find_first(name)
        self._is_changed = True
        while self._is_changed:
            self._is_changed = False
            for name, part in self._parts.items():
                self._follow(part, self._after_rule[name])
        terminals = [(each, self._automata.of(each)) for each in self._after]
        return {
            long.divisible
            for long, of_long in terminals
            if long.divisible is not None and of_long.later_kinds
            if any(overruns(of_short, self._after[short], of_long, self._steps) for short, of_short in terminals)
        }

    def _find_first(self, name: str) -> None:
        """Compute the beginning of a rule again, and note whether it has changed."""
        before = self._first[name]
        self._first[name] = self._first_of(self._parts[name])
        self._is_changed |= self._first[name] != before

    def _first_of(self, part: Part) -> tuple[int, bool]:
        self._steps.take()
        match part:
            case Terminal():
                automaton = self._automata.of(part)
                return automaton.first_kinds, automaton.is_nullable
            case Rule(name):
                return self._first[name]
            case Repeated(item, least, most):
                kinds, is_nullable = self._first_of(item)
                return (0, True) if most == 0 else (kinds, is_nullable or least == 0)
            case Group(items, is_choice):
                firsts = [self._first_of(item) for item in items]
                return _any_of(firsts) if is_choice else _all_of(firsts)

    def _follow(self, part: Part, after: int) -> None:
        """Note that a part may be followed by characters of these kinds."""
        self._steps.take()
        match part:
            case Terminal():
                self._after[part] = self._after.get(part, 0) | after
            case Rule(name):
                self._is_changed |= bool(after & ~self._after_rule[name])
                self._after_rule[name] |= after
            case Repeated(item, _, most):
                self._follow(item, after if most in (0, 1) else after | self._first_of(item)[0])
            case Group(items, is_choice):
                for item in reversed(items):
                    self._follow(item, after)
                    if not is_choice:
                        kinds, is_nullable = self._first_of(item)
                        after = kinds | after if is_nullable else kinds


def _any_of(firsts: list[tuple[int, bool]]) -> tuple[int, bool]:
    bits = 0
    for kinds, _ in firsts:
        bits |= kinds
    return bits, any(is_nullable for _, is_nullable in firsts)


def _all_of(firsts: list[tuple[int, bool]]) -> tuple[int, bool]:
    bits = 0
    for kinds, is_nullable in firsts:
        bits |= kinds
        if not is_nullable:
            return bits, False
    return bits, True


def walk(part: Part) -> Iterator[Part]:
    """Yield a part and all parts of it."""
    yield part
    match part:
        case Group(items):
            for item in items:
                yield from walk(item)
        case Repeated(item):
            yield from walk(item)


def _names(node: Node) -> Iterator[str]:
    """Yield the names of the rules that an expression refers to."""
    match node:
        case Reference(name):
            yield name
        case Series(items) | Choice(items):
            for item in items:
                yield from _names(item)
        case Repetition(item):
            yield from _names(item)


def _regular(rules: Mapping[str, Node]) -> set[str]:
    """Return the names of the rules that are no part of themselves, and refer to no rule that is."""
    missing = {name: set(_names(node)) for name, node in rules.items()}
    used_by: dict[str, list[str]] = {name: [] for name in rules}
    for name, names in missing.items():
        for other in names:
            used_by[other].append(name)
    ready = [name for name, names in missing.items() if not names]
    regular: set[str] = set()
    while ready:
        name = ready.pop()
        regular.add(name)
        for user in used_by[name]:
            missing[user].discard(name)
            if not missing[user]:
                ready.append(user)
    return regular

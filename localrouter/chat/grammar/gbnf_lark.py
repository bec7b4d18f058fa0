"""GBNF, the grammar language of llama.cpp, as llguidance's dialect of Lark: the outputs are exactly the same."""

import re
from collections.abc import Mapping

from localrouter.chat.grammar.gbnf import Characters, Choice, Node, Reference, Repetition, Series, Text, read_gbnf
from localrouter.chat.grammar.gbnf_parts import Group, Part, Repeated, Rule, Terminal, parts_of
from localrouter.chat.grammar.lark import literal, one_of, times


def gbnf_to_lark(grammar: str) -> str:
    """Return a GBNF grammar as Lark. Raises GbnfError for a mistake in it."""
    rules = read_gbnf(grammar)
    return _Writer(rules).written(parts_of(rules))


class _Writer:
    """Writes the rules and terminals of one grammar."""

    def __init__(self, rules: Mapping[str, Node]) -> None:
        self._rules = rules
        self._numbers = {name: index for index, name in enumerate(rules)}
        self._wanted: list[str] = []
        """Names of rules that terminals refer to."""
        self._terminals: dict[Node, str] = {}
        self._lines: list[str] = []

    def written(self, parts: Mapping[str, Part]) -> str:
        """Return the grammar as text."""
        lines = [f"{self._name(name)}: {self._part(part)}" for name, part in parts.items()]
        defined: set[str] = set()
        while self._wanted:
            name = self._wanted.pop()
            if name not in defined:
                defined.add(name)
                self._lines.append(f"{self._name(name).upper()}: {self._node(self._rules[name])}")
        return "\n".join([f"start: {self._name('root')}", *lines, *self._lines]) + "\n"

    def _name(self, name: str) -> str:
        stem = re.sub("[^a-z_]", "", name.lower().replace("-", "_")).strip("_") or "rule"
        return f"{stem}_{self._numbers[name]}"

    def _part(self, part: Part) -> str:
        match part:
            case Terminal(node):
                return self._terminal(node)
            case Rule(name):
                return self._name(name)
            case Repeated(item, least, most):
                return times(self._part(item), least, most)
            case Group(items, is_choice):
                bodies = [self._part(item) for item in items]
                return one_of(bodies) if is_choice else f"( {' '.join(bodies)} )"

    def _terminal(self, node: Node) -> str:
        """Return a terminal as a rule refers to it."""
        if isinstance(node, Characters | Text | Reference):
            return self._node(node)
        if node not in self._terminals:
            self._terminals[node] = f"T_{len(self._terminals)}"
            self._lines.append(f"{self._terminals[node]}: {self._node(node)}")
        return self._terminals[node]

    def _node(self, node: Node) -> str:
        """Return the body of a terminal."""
        match node:
            case Characters():
                return _set(node)
            case Text(text):
                return literal(text)
            case Reference(name):
                self._wanted.append(name)
                return self._name(name).upper()
            case Repetition(item, least, most):
                return times(self._node(item), least, most)
            case Series(items):
                return f"( {' '.join(self._node(item) for item in items)} )"
            case Choice(items):
                return one_of(self._node(item) for item in items)


def _set(characters: Characters) -> str:
    ranges = "".join(
        _character(first) if first == last else f"{_character(first)}-{_character(last)}"
        for first, last in characters.ranges
    )
    return f"/[{'^' if characters.negated else ''}{ranges}]/"


def _character(code: int) -> str:
    return chr(code) if code < 128 and chr(code).isalnum() else f"\\x{{{code:x}}}"

"""A grammar in llguidance's dialect of Lark, written piece by piece.

Names in lower case are rules, which a parser builds a tree of; names in capitals are terminals, which a lexer compiles
to one automaton. The lexer takes the longest terminal, so no two terminals at the same place should both continue.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence

EMPTY = '""'


class LarkGrammar:
    """Rules and terminals, each with a unique name."""

    def __init__(self, special_tokens: Mapping[str, int]) -> None:
        """`special_tokens`: token ids by text. A terminal never matches a special token."""
        self._special_tokens = special_tokens
        self._lines: list[str] = []
        self._named: dict[tuple[str, str], str] = {}

    def rule(self, stem: str, body: str) -> str:
        """Return the name of a rule with this body; the name begins with `stem`."""
        return self._name(stem, "", body)

    def lazy(self, stem: str, body: str) -> str:
        """Return the name of a rule that ends as soon as its one terminal is complete."""
        return self._name(stem, "[lazy]", body)

    def terminal(self, stem: str, body: str) -> str:
        """Return the name of a terminal with this body."""
        return self._name(stem.upper(), "", body)

    @property
    def position(self) -> tuple[int, int]:
        """Place in the grammar for `return_to`."""
        return len(self._lines), len(self._named)

    def return_to(self, position: tuple[int, int]) -> None:
        """Remove all rules and terminals that were written since `position`."""
        lines, named = position
        del self._lines[lines:]
        while len(self._named) > named:
            self._named.popitem()

    def declare(self, stem: str, key: str = "") -> str:
        """Return the name of a rule that is defined later, with `define`, and may therefore be part of itself.

        `key`, if not empty, is what `declared` finds the rule by.
        """
        name = f"{stem}_{len(self._named)}"
        self._named[f"{stem} declared", key or name] = name
        return name

    def declared(self, stem: str, key: str) -> str | None:
        """Return the name of the rule that was declared with this stem and key, or None."""
        return self._named.get((f"{stem} declared", key))

    def define(self, name: str, body: str) -> None:
        """Define the rule that `declare` has named."""
        self._lines.append(f"{name}: {body}")

    def delimiter(self, text: str) -> str:
        """Return a delimiter as its special token, or as text where the vocabulary has no such token."""
        return f"<[{self._special_tokens[text]}]>" if text in self._special_tokens else literal(text)

    def is_token(self, text: str) -> bool:
        """Return whether a delimiter is one special token, which ends any text before it."""
        return text in self._special_tokens

    def written(self, start: str) -> str:
        """Return the grammar as text, for outputs that match the body `start`."""
        return "\n".join([f"start: {start}", *self._lines]) + "\n"

    def _name(self, stem: str, options: str, body: str) -> str:
        known = self._named.get((stem + options, body))
        if known is None:
            known = self._named[stem + options, body] = f"{stem}_{len(self._named)}"
            self._lines.append(f"{known}{options}: {body}")
        return known


def literal(text: str) -> str:
    """Return a body that matches exactly this text."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def regex(pattern: str) -> str:
    """Return a regular expression in llguidance's dialect as a body; it matches a whole text."""
    return f"/{pattern}/"


def escaped(text: str) -> str:
    """Return a regular expression that matches exactly this text."""
    return re.sub(r"[\\.+*?()|\[\]{}^$/&~#-]", r"\\\g<0>", text).replace("\n", "\\n")


def one_of(bodies: Iterable[str]) -> str:
    """Return a body for any of these bodies, in brackets where it needs them."""
    distinct = list(dict.fromkeys(bodies))
    return distinct[0] if len(distinct) == 1 else f"( {' | '.join(distinct)} )"


def text_without(*texts: str) -> str:
    """Return the body of a terminal for any text, the empty one included, that contains none of `texts`."""
    if not texts:
        return "/(?s:.*)/"
    return rf"/(?s:.*)/ & ~/(?s:.*)(?:{'|'.join(map(escaped, sorted(texts)))})(?s:.*)/"


def times(body: str, least: int, most: int | None) -> str:
    """Return a body for `least` to `most` repetitions; None: without limit."""
    if most == 0:
        return EMPTY
    if (least, most) == (1, 1):
        return body
    sign = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((least, most))
    bounds = f"{{{least},{'' if most is None else most}}}"
    return f"({body}){sign or bounds}"


def in_order(grammar: LarkGrammar, stem: str, members: Sequence[tuple[str, bool]], separator: str) -> str:
    """Return a body for members in their order, with `separator` between them; optional ones may be missing.

    A member is its body and whether it is required. Each has two rules: one for a list that begins with this member or
    a later one, and one for the rest of a list after an earlier member.
    """
    first, following = EMPTY, EMPTY
    for body, is_required in reversed(members):
        first_of_all = f"{body} {following}"
        first = grammar.rule(stem, first_of_all if is_required else f"{first_of_all} | {first}")
        after = f"{separator} {body}"
        following = grammar.rule(stem, f"{after if is_required else f'({after})?'} {following}")
    return first

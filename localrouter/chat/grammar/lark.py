"""A grammar in llguidance's dialect of Lark, written piece by piece.

Names in lower case are rules, of which a parser makes a tree; names in capitals are terminals, of which a lexer makes
one automaton. The lexer takes the longest terminal, so no two that may stand in the same place should both go on.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence

EMPTY = '""'


class LarkGrammar:
    """Rules and terminals, each with a name of its own."""

    def __init__(self, marks: Mapping[str, int]) -> None:
        """`marks` are the texts that are one token each, which no text of a terminal matches."""
        self._marks = marks
        self._lines: list[str] = []
        self._named: dict[tuple[str, str], str] = {}

    def rule(self, stem: str, body: str) -> str:
        """Return the name of a rule with this body, whose name begins like `stem`."""
        return self._name(stem, "", body)

    def lazy(self, stem: str, body: str) -> str:
        """Return the name of a rule that ends as soon as its one terminal is complete."""
        return self._name(stem, "[lazy]", body)

    def terminal(self, stem: str, body: str) -> str:
        """Return the name of a terminal with this body."""
        return self._name(stem.upper(), "", body)

    def promise(self, stem: str) -> str:
        """Return the name of a rule that is to be kept with `keep`: it may be part of itself."""
        name = f"{stem}_{len(self._named)}"
        self._named["", name] = name
        return name

    def keep(self, name: str, body: str) -> None:
        """Say what a promised rule is."""
        self._lines.append(f"{name}: {body}")

    def mark(self, text: str) -> str:
        """Return a mark as its token, or as text where the vocabulary has no token for it."""
        return f"<[{self._marks[text]}]>" if text in self._marks else literal(text)

    def is_token(self, text: str) -> bool:
        """Whether a mark is one token, which ends every text before it."""
        return text in self._marks

    def written(self, start: str) -> str:
        """Return the grammar whose answer is `start`."""
        return "\n".join([f"start: {start}", *self._lines]) + "\n"

    def _name(self, stem: str, options: str, body: str) -> str:
        known = self._named.get((stem + options, body))
        if known is None:
            known = self._named[stem + options, body] = f"{stem}_{len(self._named)}"
            self._lines.append(f"{known}{options}: {body}")
        return known


def literal(text: str) -> str:
    """Return text that stands for itself."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def regex(pattern: str) -> str:
    """Return a regular expression of llguidance's own kind, which matches all of a text."""
    return f"/{pattern}/"


def escaped(text: str) -> str:
    """Return a regular expression for text that stands for itself."""
    return re.sub(r"[\\.+*?()|\[\]{}^$/&~#-]", r"\\\g<0>", text).replace("\n", "\\n")


def one_of(bodies: Iterable[str]) -> str:
    """Return a choice, in brackets where it needs them."""
    distinct = list(dict.fromkeys(bodies))
    return distinct[0] if len(distinct) == 1 else f"( {' | '.join(distinct)} )"


def text_without(*texts: str) -> str:
    """Return the body of a terminal for any text, even none, that has none of `texts` in it."""
    if not texts:
        return "/(?s:.*)/"
    return rf"/(?s:.*)/ & ~/(?s:.*)(?:{'|'.join(map(escaped, sorted(texts)))})(?s:.*)/"


def times(body: str, least: int, most: int | None) -> str:
    """Return a repetition."""
    if most == 0:
        return EMPTY
    if (least, most) == (1, 1):
        return body
    sign = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((least, most))
    bounds = f"{{{least},{'' if most is None else most}}}"
    return f"({body}){sign or bounds}"


def in_order(grammar: LarkGrammar, stem: str, members: Sequence[tuple[str, bool]], separator: str) -> str:
    """Return a body for members in their order, the optional ones left out or not, with `separator` between them.

    Each is given as its body and whether it is required. Two rules for each make it: what begins with it or later, and
    what follows once something has been written.
    """
    first, following = EMPTY, EMPTY
    for body, is_required in reversed(members):
        first_of_all = f"{body} {following}"
        first = grammar.rule(stem, first_of_all if is_required else f"{first_of_all} | {first}")
        after = f"{separator} {body}"
        following = grammar.rule(stem, f"{after if is_required else f'({after})?'} {following}")
    return first

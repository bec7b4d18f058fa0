"""Fields of a log line, `name=value`: a value that a client chose can neither end the line nor look like a field."""

import json
from collections.abc import Mapping

_SPECIAL = frozenset(' "=\\')
"""Printable characters that a value without quotation marks cannot have."""


def fields(facts: Mapping[str, object]) -> str:
    """Return `name=value` for each fact, separated by spaces."""
    return " ".join(f"{name}={quoted(str(fact))}" for name, fact in facts.items())


def quoted(value: str) -> str:
    """Return `value` as it is, or as a JSON string in which every character is printable.

    Quotation marks stand around an empty value and one with a space, a quotation mark, `=`, a backslash or a character
    that is not printable, such as a line break or half of a surrogate pair.
    """
    if value and value.isprintable() and _SPECIAL.isdisjoint(value):
        return value
    return "".join(
        character if character.isprintable() else json.dumps(character)[1:-1]
        for character in json.dumps(value, ensure_ascii=False)
    )

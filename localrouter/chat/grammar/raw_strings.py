"""Strings that are written as they are, between marks, rather than in JSON: what bounds them as terminals."""

from collections.abc import Iterable, Sequence

from localrouter.chat.grammar.lark import literal, one_of, regex, text_without
from localrouter.chat.grammar.pattern import whole
from localrouter.schema.field_kinds import JsonObject

INTEGER = regex(r"-?(?:0|[1-9][0-9]*)")
NUMBER = regex(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def bounded_text(variant: JsonObject, forbidden: Sequence[str]) -> str | None:
    """Return a terminal for the strings of a variant with none of `forbidden` in them; None: no string."""
    if "enum" in variant:
        values = [value for value in variant["enum"] if isinstance(value, str)]
        fit = [value for value in values if not any(mark in value for mark in forbidden)]
        return one_of(literal(value) for value in fit) if fit else None
    parts = [text_without(*forbidden)]
    least, most = variant.get("minLength", 0), variant.get("maxLength")
    if least or most is not None:
        parts.append(regex(f"(?s:.{{{least},{'' if most is None else most}}})"))
    parts += [regex(whole(pattern)) for pattern in variant.get("patterns", ())]
    return " & ".join(parts)


def not_read_as(types: Iterable[str]) -> list[str]:
    """Return what to join to a text with `&`, so that nobody reads it as JSON of one of these types."""
    opening = {"object": r"\{", "array": r"\["}
    spelled = {"null": "null", "boolean": "true|false"}
    number = NUMBER[1:-1] + "|NaN|-?Infinity"
    told = [spelled.get(name, number) for name in types if name not in opening]
    begun = [opening[name] for name in types if name in opening]
    exact = [rf"~/\s*(?:{'|'.join(dict.fromkeys(told))})\s*/"] if told else []
    return exact + ([rf"~/\s*(?:{'|'.join(begun)})(?s:.*)/"] if begun else [])

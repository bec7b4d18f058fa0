"""Terminals for strings that a call has between delimiters, without JSON's quotes and escapes."""

from collections.abc import Iterable, Sequence

from localrouter.chat.grammar.lark import literal, one_of, regex, text_without
from localrouter.chat.grammar.pattern import whole
from localrouter.schema.field_kinds import JsonObject

INTEGER = regex(r"-?(?:0|[1-9][0-9]*)")
NUMBER = regex(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def bounded_text(variant: JsonObject, forbidden: Sequence[str]) -> str | None:
    """Return a terminal for the strings of a variant that contain none of `forbidden`; None where there are none."""
    if "enum" in variant:
        values = [value for value in variant["enum"] if isinstance(value, str)]
        fit = [value for value in values if not any(each in value for each in forbidden)]
        return one_of(literal(value) for value in fit) if fit else None
    parts = [text_without(*forbidden)]
    least, most = variant.get("minLength", 0), variant.get("maxLength")
    if least or most is not None:
        parts.append(regex(f"(?s:.{{{least},{'' if most is None else most}}})"))
    parts += [regex(whole(pattern)) for pattern in variant.get("patterns", ())]
    return " & ".join(parts)


def not_read_as(types: Iterable[str]) -> list[str]:
    """Return the terminals to intersect a string with, so that it is not parsed as JSON of one of these types."""
    opening = {"object": r"\{", "array": r"\["}
    spelled = {"null": "null", "boolean": "true|false"}
    number = NUMBER[1:-1] + "|NaN|-?Infinity"
    exact = [spelled.get(name, number) for name in types if name not in opening]
    begun = [opening[name] for name in types if name in opening]
    wholes = [rf"~/\s*(?:{'|'.join(dict.fromkeys(exact))})\s*/"] if exact else []
    return wholes + ([rf"~/\s*(?:{'|'.join(begun)})(?s:.*)/"] if begun else [])

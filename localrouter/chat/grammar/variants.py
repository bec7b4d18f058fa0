"""Schemas as alternatives, each of one type or an enumeration, without references at the top.

llguidance does this for JSON; this module does it for tool calls in other syntaxes.
"""

import json
from collections.abc import Iterable
from typing import Any

from localrouter.chat.grammar.json_schema import Schema
from localrouter.chat.grammar.keywords import OF_TYPE
from localrouter.chat.grammar.plain import Read
from localrouter.chat.grammar.schema_fault import unsupported
from localrouter.schema.field_kinds import JsonObject

BUDGET = 50_000
"""Alternatives that are compared for the schema of one function."""

_TYPES = ("null", "boolean", "number", "string", "array", "object")
_LARGEST = {"minLength", "minItems", "minProperties", "minimum", "exclusiveMinimum"}
_LEAST = {"maxLength", "maxItems", "maxProperties", "maximum", "exclusiveMaximum"}


class Impossible(Exception):
    """Two schemas whose conjunction is not supported."""


class Variants:
    """The alternatives of the parts of one schema."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._budget = BUDGET

    def of(self, part: Read) -> list[JsonObject]:
        """Return the alternatives of a part, each `{"enum": [...]}` or one `type` with keywords that restrict it.

        `patterns` has the list of the patterns of a string. Raises SchemaFault for schemas with too many
        alternatives, or with a conjunction that is not supported.
        """
        try:
            return self._of(part, frozenset())
        except Impossible as error:
            message = f"It joins schemas in a way that is not supported for this model's calls: {error}."
            raise unsupported(message) from None

    def _of(self, schema: Read, seen: frozenset[str]) -> list[JsonObject]:
        self._budget -= 1
        if self._budget < 0:
            raise Impossible("it has too many alternatives")
        if not isinstance(schema, dict):
            return []
        found = _own({keyword: value for keyword, value in schema.items() if keyword not in {"$ref", "anyOf", "allOf"}})
        if "$ref" in schema:
            reference = schema["$ref"]
            found = self._join(
                found, [] if reference in seen else self._of(self._schema.target(reference), seen | {reference})
            )
        for each in schema.get("allOf", ()):
            found = self._join(found, self._of(each, seen))
        if "anyOf" in schema:
            found = self._join(found, [variant for each in schema["anyOf"] for variant in self._of(each, seen)])
        return found

    def _join(self, ones: list[JsonObject], others: list[JsonObject]) -> list[JsonObject]:
        self._budget -= len(ones) * len(others)
        if self._budget < 0:
            raise Impossible("it has too many alternatives")
        return _joined(ones, others)


def fits_type(value: Any, name: str) -> bool:
    """Return whether a value is of a type."""
    if isinstance(value, bool):
        return name == "boolean"
    if isinstance(value, int | float):
        return name == "number" or (name == "integer" and value == int(value))
    names: dict[type, str] = {str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null") == name


def _own(schema: JsonObject) -> list[JsonObject]:
    """Return the alternatives of a schema without references, `anyOf` and `allOf`."""
    declared = schema.get("type", _TYPES)
    types = [declared] if isinstance(declared, str) else list(declared)
    if "const" in schema or "enum" in schema:
        values = [schema["const"]] if "const" in schema else schema["enum"]
        enumeration: JsonObject = {"enum": [value for value in values if any(fits_type(value, name) for name in types)]}
        bounds = [_of_type(schema, name) for name in types]
        bound = [variant for variant in bounds if variant.keys() != {"type"}]
        return _joined([enumeration], bound) if bound and "type" in schema else [enumeration]
    return [_of_type(schema, name) for name in types]


def _of_type(schema: JsonObject, name: str) -> JsonObject:
    bound = OF_TYPE.get("number" if name == "integer" else name, frozenset())
    variant = {"type": name, **{keyword: value for keyword, value in schema.items() if keyword in bound}}
    if "pattern" in variant:
        variant["patterns"] = [variant.pop("pattern")]
    return variant


def _joined(ones: list[JsonObject], others: list[JsonObject]) -> list[JsonObject]:
    pairs = (_join(one, other) for one in ones for other in others)
    distinct = {json.dumps(pair): pair for pair in pairs if pair is not None}
    return list(distinct.values())


def _join(one: JsonObject, other: JsonObject) -> JsonObject | None:
    """Return the conjunction of two alternatives, or None if no value satisfies both."""
    if "enum" in one and "enum" in other:
        values = [value for value in one["enum"] if value in other["enum"]]
        return {"enum": values} if values else None
    if "enum" in one or "enum" in other:
        enumeration, typed = (one, other) if "enum" in one else (other, one)
        values = [value for value in enumeration["enum"] if _fits(value, typed)]
        return {"enum": values} if values else None
    types = {one["type"], other["type"]}
    if len(types) > 1 and types != {"integer", "number"}:
        return None
    joined = {**one, **other, "type": "integer" if "integer" in types else one["type"]}
    for keyword in one.keys() & other.keys() - {"type"}:
        joined[keyword] = _both(keyword, one, other)
    if joined["type"] == "object":
        joined.update(_properties(one, other))
    return joined


def _both(keyword: str, one: JsonObject, other: JsonObject) -> Any:
    mine, theirs = one[keyword], other[keyword]
    if keyword in _LARGEST:
        return max(mine, theirs)
    if keyword in _LEAST:
        return min(mine, theirs)
    if keyword == "patterns":
        return [*mine, *(pattern for pattern in theirs if pattern not in mine)]
    if keyword == "required":
        return list(dict.fromkeys([*mine, *theirs]))
    if keyword in {"items", "additionalProperties"}:
        return _all_of(mine, theirs)
    if mine == theirs or keyword == "properties":
        return mine
    raise Impossible(f"two of '{keyword}'")


def _properties(one: JsonObject, other: JsonObject) -> JsonObject:
    """Return the properties of a conjunction; each obeys both schemas, `additionalProperties` where one lacks it."""
    if not {"properties"} & (one.keys() | other.keys()):
        return {}
    if {"patternProperties"} & (one.keys() | other.keys()):
        raise Impossible("'patternProperties' beside other properties")
    names = dict.fromkeys([*one.get("properties", {}), *other.get("properties", {})])
    return {"properties": {name: _all_of(_property(one, name), _property(other, name)) for name in names}}


def _property(schema: JsonObject, name: str) -> Read:
    declared: Read = schema.get("properties", {}).get(name, schema.get("additionalProperties", {}))
    return declared


def _all_of(one: Read, other: Read) -> Read:
    if one is False or other is False:
        return False
    parts = [part for part in (one, other) if part != {}]
    if not parts:
        return {}
    return parts[0] if parts[1:] in ([], parts[:1]) else {"allOf": parts}


def _fits(value: Any, schema: JsonObject) -> bool:
    if not fits_type(value, schema["type"]):
        return False
    beyond = schema.keys() - {"type"} - _LARGEST - _LEAST
    if beyond:
        raise Impossible(f"{_words(beyond)} beside 'enum'")
    size = value if isinstance(value, int | float) else len(value) if isinstance(value, str | list | dict) else 0
    return all(
        size > bound if keyword == "exclusiveMinimum"
        else size < bound if keyword == "exclusiveMaximum"
        else size >= bound if keyword in _LARGEST
        else size <= bound
        for keyword, bound in schema.items() if keyword != "type"
    )  # fmt: skip


def _words(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))

"""The types that a JSON Schema allows for an argument, in as much detail as telling text from JSON needs.

Keywords that are not considered here allow every type.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias
from urllib.parse import unquote

Schema: TypeAlias = Mapping[str, Any] | bool
Kinds: TypeAlias = frozenset[str]

EVERY: Kinds = frozenset(("string", "integer", "number", "boolean", "null", "object", "array"))
TEXT: Kinds = frozenset(("string",))
MAX_DEPTH = 50
"""Levels of nested and referenced schemas that are considered; deeper ones allow every type."""

_CIRCLE: Kinds = frozenset(("circle",))
"""The types that a reference of a schema to itself adds: none."""
_HINTS = {"properties", "required", "additionalProperties", "items", "prefixItems", "minimum", "maximum", "multipleOf"}
"""Keywords without meaning for strings: a schema with one of them allows other types too."""


def argument_kinds(parameters: Schema, name: str) -> Kinds:
    """Return the types that a function's `parameters` allow for the argument `name`.

    An argument that the schema does not declare, or declares without a type, is a string.
    """
    declared: list[Any] = []
    others: list[Any] = []
    for branch in _branches(parameters):
        properties = _mapping(branch.get("properties"))
        declared += [properties[name]] if name in properties else []
        others += [branch.get("additionalProperties"), *_mapping(branch.get("patternProperties")).values()]
    known: dict[str, Kinds] = {}
    kinds = [_kinds(schema, parameters, known) for schema in declared or others if isinstance(schema, Mapping)]
    return _union(kinds) & EVERY or TEXT


def _branches(root: Schema) -> Iterator[Mapping[str, Any]]:
    """Yield `root` and all schemas that it combines or references."""
    waiting: list[Any] = [root]
    seen: set[str] = set()
    while waiting:
        schema = waiting.pop()
        if not isinstance(schema, Mapping):
            continue
        yield schema
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference not in seen:
            seen.add(reference)
            waiting.append(_resolved(reference, root))
        waiting += [each for key in ("allOf", "anyOf", "oneOf") for each in _items(schema.get(key))]


def _kinds(schema: Any, root: Schema, known: dict[str, Kinds], depth: int = 0) -> Kinds:
    """Return the types that `schema` allows; an empty set where it does not restrict them.

    `known` holds the types of references that were resolved before.
    """
    if not isinstance(schema, Mapping):
        return frozenset()
    if depth == MAX_DEPTH:
        return EVERY

    def each(key: str) -> list[Kinds]:
        return [_kinds(part, root, known, depth + 1) for part in _items(schema.get(key))]

    limits = [_typed(schema.get("type")), _typed(list(map(_kind, _items(schema.get("enum")))))]
    if "const" in schema:
        limits.append(_typed(_kind(schema["const"])))
    if isinstance(reference := schema.get("$ref"), str):
        if reference not in known:
            known[reference] = _CIRCLE
            known[reference] = _kinds(_resolved(reference, root), root, known, depth + 1)
        limits.append(known[reference])
    limits += [_union(each("anyOf")), _union(each("oneOf")), *each("allOf")]
    typed = [limit for limit in limits if limit]
    if not typed and _HINTS & schema.keys():
        return EVERY
    return typed[0].intersection(*typed) if typed else frozenset()


def _union(alternatives: list[Kinds]) -> Kinds:
    """Return the types of any alternative. One without types allows every type, if others have some."""
    return frozenset[str]().union(*(each or EVERY for each in alternatives)) if any(alternatives) else frozenset()


def _resolved(reference: str, root: Schema) -> Any:
    """Return the value at the JSON pointer `reference` inside `root`, or None."""
    if reference != "#" and not reference.startswith("#/"):
        return None
    found: Any = root
    for step in unquote(reference).split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping):
            found = found.get(key)
        elif isinstance(found, list) and key in map(str, range(len(found))):
            found = found[int(key)]
        else:
            return None
    return found


def _typed(value: Any) -> Kinds:
    """Return the types that the keyword `type` names, in letters of any case; "number" includes integers."""
    names = {name.lower() for name in ([value] if isinstance(value, str) else _items(value)) if isinstance(name, str)}
    return EVERY & (names | {"integer"} if "number" in names else names)


def _kind(value: Any) -> str:
    """Return the JSON Schema type of a constant in a schema."""
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "integer", float: "number", type(None): "null", list: "array"}
    return names.get(type(value), "object")


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}

"""Schemas of tools as chat templates can read them: templates loop over properties without a look at their types."""

from typing import Any

from localrouter.schema.field_kinds import JsonObject

MAX_DEPTH = 60
"""Levels of schemas inside each other that are shown."""

_SCHEMAS = ("items", "additionalProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS = ("properties", "$defs", "definitions")


def shown_schema(schema: JsonObject, depth: int = 0) -> JsonObject:
    """Return a schema without the keywords whose value has a type that no schema has, at any level.

    A property whose schema is no object is shown as one of any type.
    """
    return {keyword: _shown(keyword, value, depth + 1) for keyword, value in schema.items() if _is_fit(keyword, value)}


def _is_fit(keyword: str, value: Any) -> bool:
    """Return whether a value has the type that a keyword's value must have."""
    if keyword in _MAPS:
        return isinstance(value, dict)
    if keyword in {"required", "enum", *_LISTS}:
        return isinstance(value, list)
    if keyword == "type":
        names = value if isinstance(value, list) else [value]
        return bool(names) and all(isinstance(name, str) for name in names)
    if keyword == "items":
        return isinstance(value, dict | list | bool)
    return keyword != "description" or isinstance(value, str)


def _shown(keyword: str, value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        return value
    if keyword in _MAPS:
        return {name: shown_schema(each, depth) if isinstance(each, dict) else {} for name, each in value.items()}
    if keyword in _LISTS:
        return [shown_schema(each, depth) if isinstance(each, dict) else each for each in value]
    if keyword in _SCHEMAS and isinstance(value, dict):
        return shown_schema(value, depth)
    return value

"""Whether a finite value can satisfy a schema, or whether the schema requires parts of itself without end."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from localrouter.chat.grammar.references import definition_name, references


def has_finite_value(root: Any, definitions: Mapping[str, Any]) -> bool:
    """Return whether finite values can satisfy a schema that was read, and each of its definitions.

    A definition has a finite value once all definitions that it requires have one.
    """
    users: defaultdict[str, set[str]] = defaultdict(set)
    for name, schema in definitions.items():
        for reference in references(schema):
            users[definition_name(reference)].add(name)
    known: set[str] = set()
    waiting = list(definitions)
    while waiting:
        name = waiting.pop()
        if name not in known and _is_finite(definitions[name], known):
            known.add(name)
            waiting += users[name] - known
    return len(known) == len(definitions) and _is_finite(root, known)


def _is_finite(schema: Any, known: set[str]) -> bool:
    if not isinstance(schema, dict):
        return True  # llguidance rejects the schema `false` itself
    if "$ref" in schema and definition_name(schema["$ref"]) not in known:
        return False
    if "anyOf" in schema and not any(_is_finite(each, known) for each in schema["anyOf"]):
        return False
    return all(_is_finite(each, known) for each in [*schema.get("allOf", ()), *_needed(schema)])


def _needed(schema: dict[str, Any]) -> list[Any]:
    """Return the schemas of all parts that every value of a schema must have."""
    if schema.get("type") == "object":
        properties = schema.get("properties", {})
        return [properties.get(name) for name in schema.get("required", ())]
    if schema.get("type") == "array":
        least, first = schema.get("minItems", 0), schema.get("prefixItems", [])
        return [*first[:least], *([schema.get("items")] if least > len(first) else [])]
    return []

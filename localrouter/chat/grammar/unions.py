"""Whether the branches of a `oneOf` exclude each other, so that it equals `anyOf`."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from localrouter.chat.grammar.keywords import TYPES
from localrouter.chat.grammar.references import Document

MOST = 100
"""Branches that are compared; a `oneOf` with more is not known to be exclusive."""


def tag(schemas: Sequence[Any], document: Document) -> str | None:
    """Return the property that tells the branches apart if it is required; "" if they exclude each other anyway.

    None: some value may satisfy two branches.
    """
    if len(schemas) > MOST:
        return None
    branches = [document.followed(schema) for schema in schemas]
    kinds = [_Admitted.of(branch) for branch in branches]
    pairs = itertools.combinations(range(len(branches)), 2)
    alike = [(one, other) for one, other in pairs if not kinds[one].excludes(kinds[other])]
    if not alike:
        return ""
    for name in _properties(branches[alike[0][0]]):
        values = [_Admitted.of(document.followed(_properties(branch).get(name))) for branch in branches]
        if all(values[one].excludes(values[other]) for one, other in alike):
            return name
    return None


def is_tagged(schema: Any, name: str, document: Document) -> bool:
    """Return whether a branch declares the property `name`."""
    return name in _properties(document.followed(schema))


@dataclass(frozen=True)
class _Admitted:
    """The values that a schema may admit, by type and by enumeration."""

    types: frozenset[str]
    values: frozenset[str] | None = None
    """Enumerated values as JSON; None where the schema enumerates none."""

    @staticmethod
    def of(schema: Any) -> "_Admitted":
        if schema is False:
            return _Admitted(frozenset())
        if not isinstance(schema, dict):
            return _Admitted(frozenset(TYPES))
        listed = [schema["const"]] if "const" in schema else schema.get("enum")
        if isinstance(listed, list):
            return _Admitted(frozenset(map(_type, listed)), frozenset(map(_canonical, listed)))
        types = schema.get("type", TYPES)
        named = types if isinstance(types, list | tuple) else [types]
        return _Admitted(frozenset(_folded(name) for name in named))

    def excludes(self, other: "_Admitted") -> bool:
        if not self.types & other.types:
            return True
        return self.values is not None and other.values is not None and not self.values & other.values


def _folded(name: object) -> str:
    """Return the name of a type in small letters; integers are numbers."""
    folded = str(name).lower()
    return "number" if folded == "integer" else folded


def _properties(schema: Any) -> dict[str, Any]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return properties if isinstance(properties, dict) else {}


def _canonical(value: Any) -> str:
    """Return JSON that is the same for equal values: 1.0 is 1, and the order of keys does not matter."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names: dict[type, str] = {int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")

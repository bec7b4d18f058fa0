"""Schemas from which parts were left out, changed so that the rest does not become stricter than the original.

Leaving a keyword out admits more. Some keywords depend on others: without `properties`, `additionalProperties` would
forbid the properties that `properties` allows.
"""

import itertools
import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from localrouter.chat.grammar.references import Steps
from localrouter.chat.grammar.schema_fault import SchemaFault, unsupported
from localrouter.schema.field_kinds import JsonObject

MAX_OPTIONAL = 500
"""Optional properties of one object: any of them may come next, and llguidance follows only so many alternatives."""

_DECLARING = frozenset(
    {
        "$dynamicRef",
        "$recursiveRef",
        "$ref",
        "allOf",
        "anyOf",
        "dependencies",
        "dependentSchemas",
        "else",
        "oneOf",
        "then",
        "unevaluatedProperties",
    }
)
"""Keywords that may declare more properties of the object that they restrict."""
_MOST_PARTS = 200
"""Parts of a keyword that are searched for declared properties."""
_PREFIX = re.compile(r"\^([A-Za-z0-9_-]+)(?![*+?{])")


def weakened(
    read: JsonObject, schema: JsonObject, steps: Steps, faults: Sequence[SchemaFault], *, is_strict: bool
) -> Iterator[SchemaFault]:
    """Change what was `read` of a schema whose keywords with `faults` were left out; yield the faults of other parts.

    Of a strict schema nothing is left out: the first fault is an error.
    """
    left_out = {fault.steps[len(steps)] for fault in faults}
    optional = read.get("properties", {}).keys() - {*read.get("required", [])}
    if len(optional) > MAX_OPTIONAL:
        message = f"More than {MAX_OPTIONAL} of its properties are not required, which is not supported."
        yield unsupported(message, (*steps, "properties"))
        read["properties"] = {name: each for name, each in read["properties"].items() if name not in optional}
        left_out.add("properties")
    if is_strict:
        return
    yield from _without_counts(read, steps)
    yield from _with_disjoint_patterns(read, steps)
    yield from _with_others(read, schema, steps, left_out)
    if "prefixItems" in left_out and read.pop("items", None) is not None:
        yield unsupported("'items' is not enforced where 'prefixItems' is not.", (*steps, "items"))


def _without_counts(read: JsonObject, steps: Steps) -> Iterator[SchemaFault]:
    """Leave out limits of the number of properties, which llguidance only has where all properties are required."""
    required = {*read.get("required", [])}
    if not read.get("properties", {}).keys() - required:
        return
    if "minProperties" in read and read.pop("minProperties") > len(required):
        yield unsupported("'minProperties' is not supported beside optional properties.", (*steps, "minProperties"))
    if read.pop("maxProperties", None) is not None:
        yield unsupported("'maxProperties' is not supported beside optional properties.", (*steps, "maxProperties"))


def _with_disjoint_patterns(read: JsonObject, steps: Steps) -> Iterator[SchemaFault]:
    """Leave out patterns of names that may match the same name, which llguidance does not support."""
    patterns = read.get("patternProperties", {})
    if len(patterns) > 1 and not _are_disjoint(patterns):
        yield unsupported("Patterns that may match the same name are not supported.", (*steps, "patternProperties"))
        read["patternProperties"] = {}


def _with_others(
    read: JsonObject, schema: JsonObject, steps: Steps, left_out: Collection[str | int]
) -> Iterator[SchemaFault]:
    """Allow properties that a part which was left out may declare."""
    sent = schema.get("patternProperties")
    has_lost_patterns = isinstance(sent, dict) and len(read.get("patternProperties", {})) < len(sent)
    if not read.get("patternProperties", True):
        del read["patternProperties"]
    if "properties" in left_out or has_lost_patterns:
        if read.pop("additionalProperties", {}) != {}:
            message = "'additionalProperties' is not enforced where other properties are not."
            yield unsupported(message, (*steps, "additionalProperties"))
        if {"properties", "patternProperties"} & read.keys():
            read["additionalProperties"] = {}
    elif {"properties", "patternProperties"} & read.keys() and "additionalProperties" not in read:
        names = read.get("properties", {}).keys()
        if any(_declares_others(keyword, schema[keyword], names) for keyword in _DECLARING & {*left_out}):
            read["additionalProperties"] = {}


def _declares_others(keyword: str, value: Any, names: Collection[str]) -> bool:
    """Return whether a keyword may declare properties beyond `names`; references may declare any."""
    if keyword == "unevaluatedProperties":
        return value is not False
    waiting = [value]
    for _ in range(_MOST_PARTS):
        if not waiting:
            return False
        part = waiting.pop()
        if isinstance(part, str):
            return True  # a reference
        if isinstance(part, dict):
            properties = part.get("properties")
            if isinstance(properties, dict) and properties.keys() - names:
                return True
            if {"$ref", "$dynamicRef", "patternProperties"} & part.keys() or part.get("additionalProperties"):
                return True
            waiting += [each for each in part.values() if isinstance(each, dict | list)]
        elif isinstance(part, list):
            waiting += [each for each in part if isinstance(each, dict | list)]
    return True


def _are_disjoint(patterns: Collection[str]) -> bool:
    """Return whether each pattern requires a beginning that no other allows."""
    found = [None if "|" in pattern else _PREFIX.match(pattern) for pattern in patterns]
    beginnings = sorted(match[1] for match in found if match)
    if len(beginnings) < len(found):
        return False
    return not any(other.startswith(one) for one, other in itertools.pairwise(beginnings))

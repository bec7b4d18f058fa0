"""`propertyNames` as keywords of properties: an enumeration of names, or a pattern that names match."""

from collections.abc import Callable

from localrouter.chat.grammar.plain import Read
from localrouter.chat.grammar.references import Steps
from localrouter.chat.grammar.schema_fault import unsupported
from localrouter.schema.field_kinds import JsonObject


def names_as_properties(names: Read, others: Callable[[], Read], schema: JsonObject, steps: Steps) -> JsonObject:
    """Return keywords that allow properties with these names alone. `names` is what was read of `propertyNames`.

    `others` reads the schema of the values, `additionalProperties`. Raises SchemaFault for other names, and where
    `schema` has properties too.
    """
    if isinstance(names, dict) and "string" not in names.get("type", "string"):
        names = {"enum": []}  # every name is a string
    bounds = names.keys() - {"type"} if isinstance(names, dict) else {"not"}
    if not bounds:
        return {}
    if {"properties", "patternProperties"} & schema.keys() or not isinstance(names, dict):
        raise unsupported("'propertyNames' is not supported beside properties.", steps)
    if bounds == {"pattern"}:
        return {"patternProperties": {names["pattern"]: others()}, "additionalProperties": False}
    if bounds <= {"minLength", "maxLength"}:
        length = f"^[\\s\\S]{{{names.get('minLength', 0)},{names.get('maxLength', '')}}}$"
        return {"patternProperties": {length: others()}, "additionalProperties": False}
    if bounds in ({"enum"}, {"const"}):
        allowed = names.get("enum", [names.get("const")])
        values = others()
        return {
            "properties": {name: values for name in allowed if isinstance(name, str)},
            "additionalProperties": False,
        }
    raise unsupported("'propertyNames' is supported with one of enum, const, pattern, or lengths.", steps)

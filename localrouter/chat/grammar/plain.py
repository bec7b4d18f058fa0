"""Simplification of schemas that were read."""

from typing import TypeAlias

from localrouter.chat.grammar import keywords
from localrouter.schema.field_kinds import JsonObject

Read: TypeAlias = JsonObject | bool
"""A schema that was read: an object, or False, which nothing satisfies."""


def typed(schema: JsonObject) -> JsonObject:
    """Return a schema with a type added, where it has none and all of its keywords restrict one type.

    An object with `patternProperties` and no rule for other properties has no others: it is a map.
    """
    if "patternProperties" in schema and not {"properties", "additionalProperties"} & schema.keys():
        schema = {**schema, "additionalProperties": False}
    if {"type", "enum", "const"} & schema.keys():
        return schema
    types = [name for name, bound in keywords.OF_TYPE.items() if bound & schema.keys()]
    return {"type": types[0], **schema} if len(types) == 1 else schema


def plain(schema: JsonObject) -> Read:
    """Return a schema without lists of one schema, and without schemas that restrict nothing.

    A reference beside annotations alone becomes a plain reference, which may be to an enclosing schema.
    """
    simple = dict(schema)
    if "anyOf" in simple and ({} in simple["anyOf"] or len(simple["anyOf"]) == 1):
        branches = simple.pop("anyOf")
        if {} not in branches:
            simple["allOf"] = [*simple.get("allOf", []), *branches]
    if "allOf" in simple:
        simple["allOf"] = [each for each in simple["allOf"] if each != {}]
        if not simple["allOf"]:
            del simple["allOf"]
    if simple.keys() == {"allOf"} and len(simple["allOf"]) == 1:
        only: Read = simple["allOf"][0]
        return only
    return simple

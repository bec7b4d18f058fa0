"""Schemas that were read, said in a plainer way."""

from typing import TypeAlias

from localrouter.chat.grammar import keywords
from localrouter.schema.field_kinds import JsonObject

Read: TypeAlias = JsonObject | bool
"""A schema that was read: an object, or False, which nothing satisfies."""


def typed(schema: JsonObject) -> JsonObject:
    """Return a schema with the type that its keywords are about, where it has none and they are about one.

    Where names are bound to patterns and nothing is said of others, there are none: such an object is a map.
    """
    if "patternProperties" in schema and not {"properties", "additionalProperties"} & schema.keys():
        schema = {**schema, "additionalProperties": False}
    if {"type", "enum", "const"} & schema.keys():
        return schema
    types = [name for name, bound in keywords.OF_TYPE.items() if bound & schema.keys()]
    return {"type": types[0], **schema} if len(types) == 1 else schema


def plain(schema: JsonObject) -> Read:
    """Return a schema without lists of one schema, and without those that ask for nothing.

    So a reference beside nothing but annotations is a reference again, which may be to something around it.
    """
    told = dict(schema)
    if "anyOf" in told and ({} in told["anyOf"] or len(told["anyOf"]) == 1):
        branches = told.pop("anyOf")
        if {} not in branches:
            told["allOf"] = [*told.get("allOf", []), *branches]
    if "allOf" in told:
        told["allOf"] = [each for each in told["allOf"] if each != {}]
        if not told["allOf"]:
            del told["allOf"]
    if told.keys() == {"allOf"} and len(told["allOf"]) == 1:
        only: Read = told["allOf"][0]
        return only
    return told

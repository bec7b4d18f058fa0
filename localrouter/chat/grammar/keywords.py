"""The keywords of JSON Schema: enforced, ignored as annotations, or rejected."""

ANNOTATIONS = frozenset(
    {
        "$anchor",
        "$comment",
        "$defs",
        "$id",
        "$schema",
        "$vocabulary",
        "contentEncoding",
        "contentMediaType",
        "contentSchema",
        "default",
        "definitions",
        "deprecated",
        "description",
        "examples",
        "id",
        "readOnly",
        "title",
        "writeOnly",
    }
)
"""Keywords that restrict nothing. Unknown keywords are ignored too, as the standard requires."""

COUNTS = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"})
NUMBERS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
LISTS = frozenset({"allOf", "anyOf", "prefixItems"})
"""Keywords whose value is a list of schemas."""
MAPS = frozenset({"properties", "patternProperties"})
"""Keywords whose value has a schema for each name or pattern."""
SINGLE = frozenset({"items", "additionalProperties"})
"""Keywords whose value is one schema."""
REWRITTEN = frozenset({"$ref", "oneOf", "propertyNames", "format", "additionalItems"})
"""Keywords that are enforced by rewriting them to others."""
VALUES = frozenset({"type", "enum", "const", "required", "pattern"})

ENFORCED = COUNTS | NUMBERS | LISTS | MAPS | SINGLE | REWRITTEN | VALUES

UNSUPPORTED: dict[str, tuple[object, ...]] = {
    "$dynamicAnchor": (),
    "$dynamicRef": (),
    "$recursiveAnchor": (False,),
    "$recursiveRef": (),
    "contains": (),
    "dependencies": ({},),
    "dependentRequired": ({},),
    "dependentSchemas": ({},),
    "else": (True, {}),
    "if": (),
    "maxContains": (),
    "minContains": (0,),
    "not": (False,),
    "then": (True, {}),
    "unevaluatedItems": (True, {}),
    "unevaluatedProperties": (True, {}),
    "uniqueItems": (False,),
}
"""Keywords that a grammar cannot enforce, with the values that have no effect and are accepted."""

ANCHORS = frozenset({"$dynamicAnchor", "$recursiveAnchor"})
"""Unsupported keywords that restrict nothing by themselves, but change the meaning of references."""

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")

OF_TYPE = {
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "number": NUMBERS,
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems", "additionalItems"}),
    "object": frozenset(
        {
            "properties",
            "patternProperties",
            "additionalProperties",
            "propertyNames",
            "required",
            "minProperties",
            "maxProperties",
        }
    ),
}
"""Keywords that restrict values of one type only."""

"""What becomes of every keyword of a JSON schema: enforced, passed over as an annotation, or refused."""

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
"""They say nothing of what is valid. Keywords that no draft knows are passed over as well, as the standard wants it."""

COUNTS = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"})
NUMBERS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
LISTS = frozenset({"allOf", "anyOf", "prefixItems"})
"""Lists of schemas."""
MAPS = frozenset({"properties", "patternProperties"})
"""Names, or patterns of them, with schemas."""
SINGLE = frozenset({"items", "additionalProperties"})
"""One schema."""
REWRITTEN = frozenset({"$ref", "oneOf", "propertyNames", "format", "additionalItems"})
"""Enforced, by saying the same with other keywords."""
VALUES = frozenset({"type", "enum", "const", "required", "pattern"})

ENFORCED = COUNTS | NUMBERS | LISTS | MAPS | SINGLE | REWRITTEN | VALUES

REFUSED: dict[str, tuple[object, ...]] = {
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
"""What the grammar cannot hold an answer to, with the values that ask for nothing."""

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
"""Keywords that bind values of one type only."""

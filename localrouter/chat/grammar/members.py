"""The members of an object: its declared properties, and the others that it may have."""

from collections.abc import Mapping
from dataclasses import dataclass

from localrouter.chat.grammar.callable_tool import CallableTool
from localrouter.chat.grammar.pattern import whole
from localrouter.chat.grammar.plain import Read
from localrouter.chat.grammar.schema_fault import Gaps, SchemaFault, unsupported
from localrouter.chat.grammar.variants import Variants
from localrouter.schema.field_kinds import JsonObject


@dataclass(frozen=True)
class Members:
    """The properties of one kind of object."""

    properties: Mapping[str, Read]
    required: frozenset[str]
    others: Read = False
    """Schema of undeclared properties; False: there are none."""
    pattern: str | None = None
    """Regular expression that the names of undeclared properties match as a whole; None: any name."""
    least_others: int = 0
    most_others: int | None = None


def members_of(tool: CallableTool, variants: Variants, gaps: Gaps | None) -> list[Members]:
    """Return the alternatives for the arguments of a function. Raises SchemaFault where the schema has none.

    Rules for undeclared properties that are not supported are noted in `gaps`; None: they raise SchemaFault.
    """
    found = [variant for variant in variants.of(tool.schema.root) if variant.get("type") == "object"]
    if not found:
        raise SchemaFault("It admits no object.")
    return [members(variant, gaps) for variant in found]


def members(variant: JsonObject, gaps: Gaps | None = None) -> Members:
    """Return the members of the objects of one variant.

    Objects with declared properties have others only where the schema mentions them. Where the schema limits the number
    of properties, all declared ones must be required. Raises SchemaFault for other schemas.
    """
    properties: dict[str, Read] = {
        name: each for name, each in variant.get("properties", {}).items() if each is not False
    }
    required = variant.get("required", [])
    others, pattern = _others(variant, gaps)
    for name in required:
        if name in variant.get("properties", {}) and name not in properties:
            raise unsupported(f"The required property '{name}' can have no value.")
        properties.setdefault(name, variant.get("additionalProperties", {}))
    least = max(0, variant.get("minProperties", 0) - len(required))
    most = variant.get("maxProperties")
    optional = len(properties) - len(set(required))
    if optional and (least or (most is not None and most < len(properties))):
        raise unsupported("'minProperties' and 'maxProperties' are not supported beside optional properties.")
    if least and others is False:
        raise unsupported("'minProperties' is more than there are properties.")
    left = None if most is None else max(0, most - len(properties))
    return Members(properties, frozenset(required), others, pattern, least, left)


def _others(variant: JsonObject, gaps: Gaps | None) -> tuple[Read, str | None]:
    """Return the schema of undeclared properties and the regular expression that their names match."""
    patterns = variant.get("patternProperties", {})
    if patterns:
        if len(patterns) > 1 or variant.get("additionalProperties", True) is not False or variant.get("properties"):
            message = "'patternProperties' is supported as one pattern, and beside no other properties."
            if gaps is None:
                raise unsupported(message)
            gaps.add(unsupported(message, ("patternProperties",)))
            return {}, None
        [(pattern, schema)] = patterns.items()
        return schema, whole(pattern)
    return variant.get("additionalProperties", False if "properties" in variant else {}), None

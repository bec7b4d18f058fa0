"""A function that the model may call, with its schema read for grammars."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from localrouter.chat.grammar.json_schema import Schema, read_schema
from localrouter.chat.grammar.plain import Read
from localrouter.chat.grammar.values import refusal

NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}
"""The schema that OpenAI assumes for a function without `parameters`."""


@dataclass(frozen=True)
class CallableTool:
    """A function's name and the JSON Schema of its arguments; `param` is the place of the schema in the request."""

    name: str
    parameters: Mapping[str, Any] | None = None
    param: str = "tools"

    @cached_property
    def schema(self) -> Schema:
        """Schema of the arguments object. Raises InvalidRequest as `read_schema` does.

        A schema that declares properties allows no others, unless it allows or requires them explicitly: functions
        rarely accept others.
        """
        read = read_schema(dict(NO_ARGUMENTS if self.parameters is None else self.parameters), self.param)
        return Schema(_object(read.root, self.param), read.definitions)


def _object(root: Read, param: str) -> Read:
    if not isinstance(root, dict):
        raise refusal("Nothing satisfies this schema.", param, ())
    types = root.get("type", "object")
    if types != "object" and "object" not in types:
        raise refusal("The arguments of a function are an object.", param, ("type",))
    return {**root, "type": "object", **(_closing(root) if _is_closed(root) else {})}


def _closing(root: dict[str, Any]) -> dict[str, Any]:
    """Return keywords that restrict an object to its declared and its required properties."""
    declared = root["properties"]
    required: dict[str, Read] = {name: {} for name in root.get("required", ()) if name not in declared}
    return {"properties": {**declared, **required}, "additionalProperties": False}


def _is_closed(root: dict[str, Any]) -> bool:
    explicit = {"additionalProperties", "patternProperties", "$ref", "allOf", "anyOf"} & root.keys()
    return "properties" in root and not explicit

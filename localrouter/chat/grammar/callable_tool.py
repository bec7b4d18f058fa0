"""A function that the model may call, with its schema read for grammars."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from localrouter.chat.grammar.json_schema import Schema, read_schema
from localrouter.chat.grammar.plain import Read
from localrouter.chat.grammar.schema_fault import SchemaFault
from localrouter.schema.explain import NotEnforced

NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}
"""The schema that OpenAI assumes for a function without `parameters`."""


@dataclass(frozen=True)
class CallableTool:
    """A function's name and the JSON Schema of its arguments; `param` is the place of the schema in the request."""

    name: str
    parameters: Mapping[str, Any] | None = None
    param: str = "tools"
    is_strict: bool = True
    """Whether a part of the schema that cannot be enforced is an error; otherwise it is not enforced."""
    fault: str | None = None
    """Reason why nothing of the schema is enforced, so that the arguments are any object; None: there is none."""

    @cached_property
    def schema(self) -> Schema:
        """Schema of the arguments object. Raises InvalidRequest where `is_strict`, as `read_schema` does.

        A schema that declares properties allows no others, unless it allows or requires them explicitly: functions
        rarely accept others.
        """
        if self.fault is not None:
            return Schema({"type": "object"}, {}, (NotEnforced(self.param, self.fault),))
        sent = dict(NO_ARGUMENTS if self.parameters is None else self.parameters)
        read = read_schema(sent, self.param, is_strict=self.is_strict)
        try:
            return Schema(_object(read.root), read.definitions, read.not_enforced)
        except SchemaFault as fault:
            if self.is_strict:
                raise fault.refused(self.param) from None
            return self.unenforced(fault.message).schema

    def unenforced(self, why: str) -> "CallableTool":
        """Return the tool with any object as its arguments."""
        return replace(self, fault=why)


def _object(root: Read) -> Read:
    if not isinstance(root, dict):
        raise SchemaFault("Nothing satisfies this schema.")
    types = root.get("type", "object")
    if types != "object" and "object" not in types:
        raise SchemaFault("The arguments of a function are an object.", ("type",))
    values = [root["const"]] if "const" in root else root.get("enum")
    if values is not None and not any(isinstance(value, dict) for value in values):
        raise SchemaFault("The arguments of a function are an object; it lists none.")
    return {**root, "type": "object", **(_closing(root) if _is_closed(root) else {})}


def _closing(root: dict[str, Any]) -> dict[str, Any]:
    """Return keywords that restrict an object to its declared and its required properties."""
    declared = root["properties"]
    required: dict[str, Read] = {name: {} for name in root.get("required", ()) if name not in declared}
    return {"properties": {**declared, **required}, "additionalProperties": False}


def _is_closed(root: dict[str, Any]) -> bool:
    explicit = {"additionalProperties", "patternProperties", "$ref", "allOf", "anyOf"} & root.keys()
    return "properties" in root and not explicit

"""A function that an answer may call, as grammars need it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from localrouter.chat.grammar.json_schema import Schema, read_schema
from localrouter.chat.grammar.plain import Read
from localrouter.chat.grammar.values import refusal

NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}
"""What OpenAI takes a function without `parameters` for."""


@dataclass(frozen=True)
class CallableTool:
    """A function by its name and the JSON schema of its arguments; `param` is where that stands in the request."""

    name: str
    parameters: Mapping[str, Any] | None = None
    param: str = "tools"

    @cached_property
    def schema(self) -> Schema:
        """The schema of the arguments, which are an object. Raises InvalidRequest as `read_schema` does.

        Where it declares properties, there are no others unless it says that there may be, or requires them: functions
        rarely take any.
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
    """Return the keywords that leave an object with what it declares, and with what it requires all the same."""
    declared = root["properties"]
    required: dict[str, Read] = {name: {} for name in root.get("required", ()) if name not in declared}
    return {"properties": {**declared, **required}, "additionalProperties": False}


def _is_closed(root: dict[str, Any]) -> bool:
    told = {"additionalProperties", "patternProperties", "$ref", "allOf", "anyOf"} & root.keys()
    return "properties" in root and not told

"""What the fields of a request are made of.

Every field of OpenAI's stands in our models and is of one of three kinds: honoured (it has a type of its own),
`Unsupported` (only the values that ask for nothing pass) or `Ignored` (known, checked, without effect). docs/api.md is
generated from this.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Self, TypeAlias, TypeVar

import msgspec
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

JsonObject: TypeAlias = dict[str, Any]

MAX_TOKENS = 2**31 - 1
"""No context is longer; a larger number is a mistake and would not fit into what the engine counts with."""


@dataclass(frozen=True, eq=False)  # equal marks would be one to `Annotated`, and 0 equals False
class Unsupported:
    """Marks a field that is refused. Null and the `neutral` values ask for nothing, so they are honoured."""

    neutral: tuple[object, ...] = ()

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return a schema that lets only the neutral values pass."""
        return core_schema.no_info_after_validator_function(self._check, core_schema.any_schema())

    def _check(self, value: object) -> object:
        if value is None or any(_same(value, neutral) for neutral in self.neutral):
            return value
        raise PydanticCustomError(
            "unsupported_parameter",
            "{field} is not supported{unless}.",
            {"unless": f" with this value; leave it out or send {' or '.join(self.accepted)}" if self.neutral else ""},
        )

    @property
    def accepted(self) -> list[str]:
        """The neutral values as they are written in JSON."""
        return [msgspec.json.encode(value).decode() for value in self.neutral]


def _same(value: object, neutral: object) -> bool:
    """Python holds `True == 1`, JSON does not."""
    return value == neutral and isinstance(value, bool) == isinstance(neutral, bool)


@dataclass(frozen=True)
class Ignored:
    """Marks a field that is accepted and has no effect here; `why` says why that harms nobody."""

    why: str


def refuse(kinds: tuple[str, ...], message: str) -> BeforeValidator:
    """Return a check that names what OpenAI knows and localrouter does not support."""

    def check(value: object) -> object:
        if isinstance(value, str) and value in kinds:
            raise PydanticCustomError("unsupported_parameter", message, {"value": value})
        return value

    return BeforeValidator(check)


def invalid(message: str) -> PydanticCustomError:
    """Return the error for a value that has the right type; `{field}` in `message` is where it stands."""
    return PydanticCustomError("invalid_value", message)


class Strict(BaseModel):
    """Unknown fields are an error and nothing is converted: "1" is no number.

    Validation stops at the first mistake. To collect a few million of them out of one body took a minute and 10 GB; and
    that is also why unknown fields are let in and refused afterwards, where `extra="forbid"` would list them all.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    @model_validator(mode="after")
    def _knows_all_fields(self) -> Self:
        for name in self.model_extra or ():
            raise PydanticCustomError("unknown_parameter", "", {"name": name})
        return self


Item = TypeVar("Item")
Several: TypeAlias = Annotated[list[Item], Field(fail_fast=True, min_length=1, max_length=65_536)]


def kind_of_content(value: object) -> str | None:
    """Return the tag of a union of a string and an array."""
    if isinstance(value, str):
        return "<text>"
    return "<parts>" if isinstance(value, list) else None


Number = Annotated[float, Field(allow_inf_nan=False)]
Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+\z")]
"""Of a function or a schema, as OpenAI allows them."""

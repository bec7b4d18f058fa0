"""The kinds of request fields, and types that several requests share.

Our models have every field of OpenAI's, in one of three kinds: supported (it has a type of its own), `Unsupported`
(rejected unless the value has no effect) or `Ignored` (checked and accepted, without effect). The tables in docs/api.md
are generated from the models.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

JsonObject: TypeAlias = dict[str, Any]

MAX_TOKENS = 2**31 - 1
"""Upper limit of token counts and ids: no context is longer, and the engine counts with 32 bits."""


@dataclass(frozen=True, eq=False)  # `Annotated` would merge equal instances, and 0 equals False
class Unsupported:
    """Annotates a field that is rejected, except for null and the `neutral` values, which have no effect."""

    neutral: tuple[object, ...] = ()

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return a schema that accepts only null and the neutral values."""
        return core_schema.no_info_after_validator_function(self._check, core_schema.any_schema())

    def _check(self, value: object) -> object:
        if value is None or any(is_same(value, neutral) for neutral in self.neutral):
            return value
        raise PydanticCustomError(
            "unsupported_parameter",
            "{field} is not supported{unless}.",
            {"unless": f" with this value; leave it out or send {' or '.join(self.accepted)}" if self.neutral else ""},
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the JSON schema of the accepted values, marked as deprecated."""
        return {"enum": [None, *self.neutral], "deprecated": True, "description": "not supported"}

    @property
    def accepted(self) -> list[str]:
        """The neutral values as they are written in JSON."""
        return [msgspec.json.encode(value).decode() for value in self.neutral]


def is_same(value: object, neutral: object) -> bool:
    """Return whether two values are equal in JSON, where unlike in Python `true` is not 1."""
    return value == neutral and isinstance(value, bool) == isinstance(neutral, bool)


@dataclass(frozen=True)
class Ignored:
    """Annotates a field that is accepted and ignored; `why` is the reason that this is harmless."""

    why: str

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the JSON schema of the field's type, marked as deprecated, with the reason."""
        return {**handler(schema), "deprecated": True, "description": f"accepted and ignored: {self.why}"}


def reject(kinds: tuple[str, ...], message: str) -> BeforeValidator:
    """Return a validator that rejects values of OpenAI's that localrouter does not support, with `message`."""

    def check(value: object) -> object:
        if isinstance(value, str) and value in kinds:
            raise PydanticCustomError("unsupported_parameter", message, {"value": value})
        return value

    return BeforeValidator(check)


def invalid(message: str) -> PydanticCustomError:
    """Return the error for a value that has the right type; `{field}` in `message` is where it stands."""
    return PydanticCustomError("invalid_value", message)


class Strict(BaseModel):
    """Base of the bodies of requests: unknown fields are errors, and nothing is converted ("1" is not a number).

    Validation stops at the first error: collecting a few million errors of one body took a minute and 10 GB. For the
    same reason unknown fields are rejected after validation, where `extra="forbid"` would list them all.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    @model_validator(mode="after")
    def _knows_all_fields(self) -> Self:
        for name, value in (self.model_extra or {}).items():
            if value is not None:  # null is the same as omitting a field
                raise PydanticCustomError("unknown_parameter", "", {"name": name})
        return self

    def without_effect(self) -> Mapping[str, str]:
        """Return supported fields of this object that have no effect beside its other fields, each with the reason."""
        return {}


class Nested(BaseModel):
    """Base of the objects inside a body: unknown fields are annotations, accepted without effect and named.

    Known fields that carry content or change the output are declared, as supported or as `Unsupported`. Nothing is
    converted, and validation stops at the first error, as in `Strict`.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    @property
    def is_plain(self) -> bool:
        """Whether this object has only strings that have an effect, as most have: it needs no closer look."""
        return False

    def without_effect(self) -> Mapping[str, str]:
        """Return the supported fields that have no effect in this object, each with the reason."""
        return {}


Item = TypeVar("Item")
Several: TypeAlias = Annotated[list[Item], Field(fail_fast=True, min_length=1, max_length=65_536)]


def kind_of_content(value: object) -> str | None:
    """Return the tag of a union of a string and an array."""
    if isinstance(value, str):
        return "<text>"
    return "<parts>" if isinstance(value, list) else None


def _whole(value: object) -> object:
    """Return a float without a fraction as an integer: 16.0 is one in JSON, and some languages write it so."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integer = Annotated[int, BeforeValidator(_whole)]
"""An integer, which may be written as 16.0."""
Number = Annotated[float, Field(allow_inf_nan=False)]


def _limit(value: object) -> object:
    """Return the largest limit for -1, which LM Studio and llama.cpp read as no limit."""
    return MAX_TOKENS if is_same(value, -1) else value


Tokens = Annotated[
    int,
    Field(ge=1, le=MAX_TOKENS),
    BeforeValidator(_whole),
    BeforeValidator(_limit, json_schema_input_type=Literal[-1] | Annotated[int, Field(ge=1, le=MAX_TOKENS)]),
]
"""A limit of tokens; -1 is none."""
TokensOrNone = Annotated[int, Field(ge=0, le=MAX_TOKENS), BeforeValidator(_whole), BeforeValidator(_limit)]
"""A limit of tokens that may be 0; -1 is none."""
MAX_NAME = 256
"""Characters of the name of a function or a schema. OpenAI allows 64, which MCP servers exceed."""
_UNSPELLABLE = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029<>"\\{}]')
"""Characters that end the name of a function in some syntax of tool calls, or are escaped in it."""


def _spellable(name: str) -> str:
    """Return the name of a function. Raises the error for a character that some model's tool calls cannot have."""
    if _UNSPELLABLE.search(name):
        message = 'Invalid value for {field}: a name has no control characters and none of < > " \\ and braces.'
        raise invalid(message)
    return name


Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME), AfterValidator(_spellable)]
"""Name of a function: more characters than OpenAI allows, and all that every syntax of tool calls can spell."""

"""Tools, tool choice and `response_format` of a request."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator
from pydantic_core import PydanticCustomError

from localrouter.schema.field_kinds import MAX_NAME, JsonObject, Name, Nested, Unsupported, invalid, reject

MAX_TOOLS = 512
"""Tools per request. OpenAI allows 128, which clients with several MCP servers exceed."""

SCHEMA_KEYWORDS = frozenset(("type", "properties", "items", "enum", "anyOf", "oneOf", "allOf", "$ref"))
"""Keywords of which most JSON schemas have one at the top."""

CUSTOM = reject(("custom",), "Custom tools are not supported; only functions are.")


class FunctionDefinition(Nested):
    """A function that the model may call."""

    name: Name
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = Field(
        None, description="true: a part of `parameters` that cannot be enforced is a 400; else it is not enforced"
    )
    input_schema: Annotated[object, Unsupported()] = None
    input_schema_: Annotated[object, Unsupported()] = Field(None, alias="inputSchema")


class Tool(Nested):
    """A tool, which is always a function."""

    type: Annotated[Literal["function"], CUSTOM]
    function: FunctionDefinition


ChosenName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME)]


class FunctionName(Nested):
    """The name of a function in a choice."""

    name: ChosenName


class NamedTool(Nested):
    """A choice of exactly this tool, in the form of chat completions or of OpenAI's Responses API."""

    type: Annotated[Literal["function"], CUSTOM]
    function: FunctionName | None = None
    name: ChosenName | None = Field(None, description="the name, in the form of the Responses API")

    @model_validator(mode="after")
    def _has_one_name(self) -> Self:
        if self.function is None and self.name is None:
            raise PydanticCustomError("missing_field", "", {"name": "function"})
        if self.function is not None and self.name not in {None, self.function.name}:
            raise invalid("Invalid value for {field}: 'name' and 'function.name' must be equal.")
        return self

    @property
    def chosen(self) -> str:
        """Name of the function."""
        return self.function.name if self.function else self.name or ""


class AllowedTools(Nested):
    """A subset of the request's tools."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(fail_fast=True, min_length=1, max_length=MAX_TOOLS)]


class AllowedToolChoice(Nested):
    """A choice among a subset of the request's tools, in the form of chat completions or of the Responses API."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools

    @model_validator(mode="before")
    @classmethod
    def _nested(cls, value: object) -> object:
        """Return the form of the Responses API, which has `mode` and `tools` in the choice itself, nested."""
        if not isinstance(value, dict) or "allowed_tools" in value or "tools" not in value:
            return value
        inner = {name: value[name] for name in ("mode", "tools") if name in value}
        return {name: each for name, each in value.items() if name not in inner} | {"allowed_tools": inner}


def _kind_of_choice(value: object) -> str | None:
    if isinstance(value, str):
        return "<text>"
    if isinstance(value, dict):
        return "<allowed>" if value.get("type") == "allowed_tools" else "<named>"
    return None


ToolChoice: TypeAlias = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<text>")]
    | Annotated[NamedTool, Tag("<named>")]
    | Annotated[AllowedToolChoice, Tag("<allowed>")],
    Discriminator(_kind_of_choice, custom_error_type="choice_type", custom_error_message="neither string nor object"),
]
FunctionChoice: TypeAlias = Annotated[
    Annotated[Literal["none", "auto"], Tag("<text>")] | Annotated[FunctionName, Tag("<named>")],
    Discriminator(_kind_of_choice, custom_error_type="choice_type", custom_error_message="neither string nor object"),
]


class TextFormat(Nested):
    """Any text."""

    type: Literal["text", "json_object", "json_schema"]  # the others are classes of their own
    schema_: Annotated[object, Unsupported()] = Field(None, alias="schema")
    json_schema: Annotated[object, Unsupported()] = None


class JsonObjectFormat(Nested):
    """Any JSON object."""

    type: Literal["json_object"]
    schema_: Annotated[object, Unsupported()] = Field(None, alias="schema")
    json_schema: Annotated[object, Unsupported()] = None


class NamedSchema(Nested):
    """A JSON schema with a name, which is not used."""

    name: Annotated[str, StringConstraints(max_length=MAX_NAME)] | None = None
    description: str | None = None
    schema_: JsonObject | None = Field(None, alias="schema")
    strict: bool | None = Field(
        None, description="true: a part of the schema that cannot be enforced is a 400; else it is not enforced"
    )


class JsonSchemaFormat(Nested):
    """JSON that obeys a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema
    schema_: Annotated[object, Unsupported()] = Field(None, alias="schema")

    @model_validator(mode="after")
    def _has_the_schema_in_its_field(self) -> Self:
        """Reject a schema that stands in the place of its name and `schema`, where it would be ignored."""
        if self.json_schema.schema_ is None and not SCHEMA_KEYWORDS.isdisjoint(self.json_schema.model_extra or ()):
            raise PydanticCustomError("missing_field", "", {"name": "json_schema.schema"})
        return self


def _kind_of_format(value: object) -> str | None:
    """Return the tag of a format; unknown formats are validated as `text`, which rejects them."""
    if not isinstance(value, dict):
        return None
    return {"json_object": "<object>", "json_schema": "<schema>"}.get(str(value.get("type")), "<text>")


ResponseFormat: TypeAlias = Annotated[
    Annotated[TextFormat, Tag("<text>")]
    | Annotated[JsonObjectFormat, Tag("<object>")]
    | Annotated[JsonSchemaFormat, Tag("<schema>")],
    Discriminator(_kind_of_format, custom_error_type="format_type", custom_error_message="no object"),
]

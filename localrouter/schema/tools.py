"""What a request offers the model to call, and the form that it wants the answer in."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Discriminator, Field, StringConstraints, Tag

from localrouter.schema.field_kinds import Ignored, JsonObject, Name, Strict, refuse

MAX_TOOLS = 128
"""OpenAI's own bound."""

CUSTOM = refuse(("custom",), "Custom tools are not supported; only functions are.")


class FunctionDefinition(Strict):
    """A function that the model may call."""

    name: Name
    description: str | None = None
    parameters: JsonObject | None = None
    strict: Annotated[bool | None, Ignored("arguments always obey the schema")] = None


class Tool(Strict):
    """A tool; only functions are."""

    type: Annotated[Literal["function"], CUSTOM]
    function: FunctionDefinition


class FunctionName(Strict):
    """The name of a function in a choice."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]


class NamedTool(Strict):
    """This tool and no other."""

    type: Annotated[Literal["function"], CUSTOM]
    function: FunctionName


class AllowedTools(Strict):
    """Some of the tools of the request."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(fail_fast=True, min_length=1, max_length=MAX_TOOLS)]


class AllowedToolChoice(Strict):
    """Only these tools."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


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


class TextFormat(Strict):
    """Any text."""

    type: Literal["text", "json_object", "json_schema"]  # the others are classes of their own


class JsonObjectFormat(Strict):
    """Any JSON object."""

    type: Literal["json_object"]


class NamedSchema(Strict):
    """A JSON schema with a name."""

    name: Name
    description: str | None = None
    schema_: JsonObject | None = Field(None, alias="schema")
    strict: Annotated[bool | None, Ignored("answers always obey the schema")] = None


class JsonSchemaFormat(Strict):
    """JSON that obeys a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


def _kind_of_format(value: object) -> str | None:
    """Return the tag of a format; one that there is not goes to the text, which refuses it."""
    if not isinstance(value, dict):
        return None
    return {"json_object": "<object>", "json_schema": "<schema>"}.get(str(value.get("type")), "<text>")


ResponseFormat: TypeAlias = Annotated[
    Annotated[TextFormat, Tag("<text>")]
    | Annotated[JsonObjectFormat, Tag("<object>")]
    | Annotated[JsonSchemaFormat, Tag("<schema>")],
    Discriminator(_kind_of_format, custom_error_type="format_type", custom_error_message="no object"),
]

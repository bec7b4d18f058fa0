"""The messages of a conversation."""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, StringConstraints, Tag, model_validator
from pydantic_core import PydanticCustomError

from localrouter.schema.field_kinds import Ignored, Several, Strict, Unsupported, kind_of_content, reject

NO_MEDIA = "Content of type '{value}' is not supported; the models here read text."


class TextPart(Strict):
    """One text part of a message's content."""

    type: Annotated[
        Literal["text"],
        reject(("image_url", "input_audio", "file", "refusal", "video_url"), NO_MEDIA),
    ]
    text: str
    prompt_cache_breakpoint: Annotated[object, Ignored("prefixes of prompts are cached anyway")] = None


class RefusalPart(Strict):
    """A part of an assistant message with a refusal."""

    type: Literal["refusal"]
    refusal: str

    @property
    def text(self) -> str:
        """Text of the refusal."""
        return self.refusal


def _kind_of_part(value: object) -> str:
    return "<refusal>" if isinstance(value, dict) and value.get("type") == "refusal" else "<text>"


Part: TypeAlias = Annotated[
    Annotated[TextPart, Tag("<text>")] | Annotated[RefusalPart, Tag("<refusal>")], Discriminator(_kind_of_part)
]
Content: TypeAlias = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[Several[Part], Tag("<parts>")],
    Discriminator(kind_of_content, custom_error_type="content_type", custom_error_message="neither string nor array"),
]


class CalledFunction(Strict):
    """The function of an earlier call. `arguments` is the text that the model wrote, which may not be JSON."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    arguments: str


class PriorToolCall(Strict):
    """A tool call of an earlier assistant message."""

    id: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    type: Annotated[Literal["function"], reject(("custom",), "Calls of custom tools are not supported.")]
    function: CalledFunction
    index: Annotated[int | None, Ignored("folded from a stream; their order counts")] = None


class Message(Strict):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"] = Field(
        description="`system`, `developer`, `user`, `assistant`, `tool`; `function` is the older form of `tool`"
    )
    content: Content | None = Field(
        None,
        description='a string, or an array of `{"type": "text", "text": ...}`; a message with tool calls may have none',
    )
    name: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        None, description="name of the participant, written before the text; of a `function` message the function"
    )
    tool_calls: Annotated[list[PriorToolCall], Field(fail_fast=True, max_length=1024)] | None = Field(
        None, description="only of `assistant`: the functions that it called"
    )
    tool_call_id: Annotated[str, StringConstraints(max_length=512)] | None = Field(
        None, description="only of `tool`, which needs it: the call that this is the result of"
    )
    function_call: CalledFunction | None = Field(None, description="only of `assistant`: the older form of a call")
    refusal: str | None = Field(None, description="only of `assistant`: read as its text")
    reasoning_content: str | None = Field(
        None,
        description="not OpenAI's, only of `assistant`: its reasoning; the model's template decides which is shown",
    )
    reasoning: Annotated[str | None, BeforeValidator(lambda value: value)] = Field(
        None, description="not OpenAI's: another name of `reasoning_content`"
    )
    annotations: Annotated[object, Ignored("they repeat the text")] = None
    provider_specific_fields: Annotated[object, Ignored("litellm's own notes on a response, which it sends back")] = (
        None
    )
    audio: Annotated[object, Unsupported()] = None

    @model_validator(mode="after")
    def _fits_its_role(self) -> Self:
        for name in ("tool_calls", "function_call", "refusal", "reasoning_content", "reasoning"):
            if getattr(self, name) and self.role != "assistant":
                raise PydanticCustomError("misplaced_parameter", "", {"name": name, "role": self.role})
        if self.tool_call_id is not None and self.role != "tool":
            raise PydanticCustomError("misplaced_parameter", "", {"name": "tool_call_id", "role": self.role})
        missing = self._missing()
        if missing:
            raise PydanticCustomError("missing_field", "", {"name": missing})
        return self

    def _missing(self) -> str | None:
        """Return the name of a required field that the message lacks, or None."""
        if self.role == "tool" and self.tool_call_id is None:
            return "tool_call_id"
        if self.role == "function" and not self.name:
            return "name"
        says_otherwise = self.tool_calls or self.function_call or self.refusal is not None
        return "content" if self.content is None and not says_otherwise else None

    @property
    def text(self) -> str:
        """The content as one string; parts are joined without anything between them."""
        if self.content is None:
            return self.refusal or ""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)

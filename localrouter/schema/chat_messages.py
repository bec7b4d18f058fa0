"""The messages of a conversation."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from localrouter.schema.content_parts import CACHED, SIGNED, Content, ReasoningPart, json_text, result_content
from localrouter.schema.field_kinds import Ignored, Nested, Unsupported, reject
from localrouter.schema.reasoning_blocks import GAP, text_of_blocks

MAX_FUNCTION_NAME = 512
"""Characters of the name of a called function: at least as many as a tool may have."""
MAX_SPEAKER = 64
"""Characters of a participant's name, OpenAI's own limit."""

PLAIN = frozenset(("role", "content"))
RESULT_ROLES = ("tool", "function")
REASONING_NAMES = ("reasoning_content", "reasoning", "thinking", "reasoning_text")
"""Names of the reasoning of an assistant message."""
BLOCK_NAMES = ("reasoning_details", "thinking_blocks")
"""Fields that repeat the reasoning in blocks."""
OF_THE_ASSISTANT = ("tool_calls", "function_call", "refusal", *REASONING_NAMES, "prefix", "partial")

REPEATED = "it repeats the reasoning, which is read from another field"
UNREADABLE = "it has no reasoning as text"
NO_RESULT = "only a result has the name of a tool"
FROM_THE_CALL = "the call has the name of the function"
NO_MEDIA_FIELD = Unsupported(([], ""))

FunctionName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_FUNCTION_NAME)]
Identifier = Annotated[str, StringConstraints(max_length=512)]


def _arguments_text(value: object) -> object:
    """Return arguments as text: "" for null, JSON for any other value that is no text."""
    if isinstance(value, str):
        return value
    return "" if value is None else json_text(value)


class CalledFunction(Nested):
    """The function of an earlier call. `arguments` is the text that the model wrote, which may not be JSON."""

    name: FunctionName = Field(description="name of the function")
    arguments: Annotated[str, BeforeValidator(_arguments_text)] = Field(
        "", description="JSON as a string, or the object itself; missing, null or empty: no arguments"
    )


class PriorToolCall(Nested):
    """A tool call of an earlier assistant message."""

    id: Identifier | None = Field(
        None, description="missing or empty: only a result without `tool_call_id` can be its result"
    )
    type: Annotated[Literal["function", ""] | None, reject(("custom",), "Calls of custom tools are not supported.")] = (
        Field(None, description="`function`")
    )
    function: CalledFunction = Field(description="`name` and `arguments`")
    index: Annotated[object, Ignored("folded from a stream; their order counts")] = None
    cache_control: Annotated[object, CACHED] = None
    extra_content: Annotated[object, SIGNED] = None
    provider_specific_fields: Annotated[object, SIGNED] = None


class Message(Nested):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"] = Field(
        description="`system`, `developer`, `user`, `assistant`, `tool`; `function` is the older form of `tool`"
    )
    content: Content | None = Field(
        None,
        description="a string or an array of parts; null, missing or empty: no text; of a result any JSON value",
    )
    name: Annotated[str, StringConstraints(max_length=MAX_FUNCTION_NAME)] | None = Field(
        None, description="name of the participant, written before the text; of a result the function"
    )
    tool_calls: Annotated[list[PriorToolCall], Field(fail_fast=True, max_length=1024)] | None = Field(
        None, description="only of `assistant`: the functions that it called"
    )
    tool_call_id: Identifier | None = Field(
        None, description="only of `tool`: the call that this is the result of; see [tool calling](#tool-calling)"
    )
    tool_name: Annotated[str, StringConstraints(max_length=MAX_FUNCTION_NAME)] | None = Field(
        None, description="Ollama's: the function of a result without `tool_call_id`"
    )
    function_call: CalledFunction | None = Field(None, description="only of `assistant`: the older form of a call")
    refusal: str | None = Field(None, description="only of `assistant`: read as its text")
    reasoning_content: str | None = Field(
        None,
        description="not OpenAI's, only of `assistant`: its reasoning; the model's template decides which is shown",
    )
    reasoning: str | None = Field(None, description="not OpenAI's: another name of `reasoning_content`")
    thinking: str | None = Field(None, description="Ollama's name of `reasoning_content`")
    reasoning_text: str | None = Field(None, description="not OpenAI's: another name of `reasoning_content`")
    reasoning_details: Any = Field(
        None, description="OpenRouter's: read as the reasoning where no other field of the message has it"
    )
    thinking_blocks: Any = Field(
        None, description="LiteLLM's: read as the reasoning where no other field of the message has it"
    )
    prefix: bool | None = Field(
        None, description="true: `continue_final_message`; only of an `assistant` message that is the last"
    )
    partial: bool | None = Field(None, description="not OpenAI's: another name of `prefix`")
    annotations: Annotated[object, Ignored("they repeat the text")] = None
    provider_specific_fields: Annotated[object, Ignored("litellm's own notes on a response, which it sends back")] = (
        None
    )
    cache_control: Annotated[object, CACHED] = None
    cache_breakpoint: Annotated[object, CACHED] = None
    id: Annotated[object, Ignored("it names the message in its client")] = None
    timestamp: Annotated[object, Ignored("chat templates show no time of a message")] = None
    metadata: Annotated[object, Ignored("nothing is stored")] = None
    is_error: Annotated[object, Ignored("chat templates show the text of a result alone")] = None
    audio: Annotated[object, Unsupported()] = None
    images: Annotated[object, NO_MEDIA_FIELD] = None
    videos: Annotated[object, NO_MEDIA_FIELD] = None
    audios: Annotated[object, NO_MEDIA_FIELD] = None
    files: Annotated[object, NO_MEDIA_FIELD] = None
    attachments: Annotated[object, NO_MEDIA_FIELD] = None
    weight: Annotated[object, Unsupported((1,))] = None

    @property
    def is_plain(self) -> bool:
        """Whether the message has a role and a text, and nothing else."""
        return self.model_fields_set <= PLAIN and isinstance(self.content, str)

    @field_validator("content", mode="wrap")
    @classmethod
    def _any_result(cls, value: object, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> object:
        """Accept any JSON value as the content of a result."""
        if isinstance(value, str) or info.data.get("role") not in RESULT_ROLES:
            return handler(value)
        content = result_content(value)
        return content if isinstance(content, str) else handler(content)

    @field_validator("name")
    @classmethod
    def _short_name(cls, value: str | None, info: ValidationInfo) -> str | None:
        """Reject names of participants that are longer than OpenAI allows."""
        if value is not None and len(value) > MAX_SPEAKER and info.data.get("role") not in RESULT_ROLES:
            raise PydanticCustomError("string_too_long", "", {"max_length": MAX_SPEAKER})
        return value

    @model_validator(mode="after")
    def _fits_its_role(self) -> Self:
        if self.is_plain and self.role != "function":
            return self
        if self.role != "assistant":
            for name in OF_THE_ASSISTANT:
                if getattr(self, name):
                    raise PydanticCustomError("misplaced_parameter", "", {"name": name, "role": self.role})
            if self._reasoning_parts():
                raise PydanticCustomError("misplaced_reasoning", "", {"name": "content", "role": self.role})
        if self.tool_call_id and self.role not in RESULT_ROLES:
            raise PydanticCustomError("misplaced_parameter", "", {"name": "tool_call_id", "role": self.role})
        missing = self._missing()
        if missing:
            raise PydanticCustomError("missing_field", "", {"name": missing})
        return self

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        """Reject two names of one field with different values."""
        if self.role != "assistant" or self.is_plain:
            return self
        reasoning = [(name, text) for name, text in self._named_reasoning() if text]
        prefix = [(name, getattr(self, name)) for name in ("prefix", "partial") if getattr(self, name) is not None]
        for names in (reasoning, prefix):
            for name, value in names[1:]:
                if value != names[0][1]:
                    raise PydanticCustomError("names_differ", "", {"name": name, "other": names[0][0]})
        return self

    def _missing(self) -> str | None:
        """Return the name of a required field that the message lacks, or None."""
        if self.role == "function" and not self.name and not self.tool_call_id:
            return "name"
        if "content" in self.model_fields_set or all(value is None for value in (self.model_extra or {}).values()):
            return None
        says_otherwise = self.tool_calls or self.function_call or self.refusal is not None or self.effective_reasoning
        return None if says_otherwise else "content"  # an unknown field may be the content

    def _reasoning_parts(self) -> list[ReasoningPart]:
        if not isinstance(self.content, list):
            return []
        return [part for part in self.content if isinstance(part, ReasoningPart)]

    def _named_reasoning(self) -> list[tuple[str, str]]:
        """Return the reasoning in each field that may have it, with the name of the field."""
        named = [(name, getattr(self, name) or "") for name in REASONING_NAMES]
        return [*named, ("content", GAP.join(part.thought for part in self._reasoning_parts()))]

    def _reasoning(self) -> tuple[str, str]:
        """Return the name of the field that has the reasoning, and the reasoning; both "" without one."""
        if self.role == "assistant":
            blocks = ((name, text_of_blocks(getattr(self, name))) for name in BLOCK_NAMES)
            for name, text in (*self._named_reasoning(), *blocks):
                if text:
                    return name, text
        return "", ""

    @property
    def effective_reasoning(self) -> str:
        """Reasoning of an assistant message, whichever field has it; "" without one."""
        return self._reasoning()[1]

    @property
    def continues(self) -> str:
        """Name of the field that asks for a continuation of this message; "" where neither does."""
        return "prefix" if self.prefix else "partial" if self.partial else ""

    @property
    def called_name(self) -> str:
        """Name of the function that a result without `tool_call_id` is the result of; "" without one."""
        return self.tool_name or self.name or ""

    @property
    def text(self) -> str:
        """The content as one string; parts are joined without anything between them."""
        if self.content is None:
            return self.refusal or ""
        if isinstance(self.content, str):
            return str(self.content)  # no JsonText, which msgspec does not encode
        return "".join(part.text for part in self.content)

    def without_effect(self) -> Mapping[str, str]:
        """Return blocks that are not the source of the reasoning, and names of functions that the call says."""
        blocks = [name for name in BLOCK_NAMES if getattr(self, name)]
        source = self._reasoning()[0] if blocks else ""
        unused = {name: REPEATED if source else UNREADABLE for name in blocks if name != source}
        if self.role not in RESULT_ROLES:
            return unused | ({"tool_name": NO_RESULT} if self.tool_name else {})
        if self.tool_call_id:
            unused |= {name: FROM_THE_CALL for name in ("name", "tool_name") if getattr(self, name)}
        return unused

"""The body of `POST /v1/chat/completions`."""

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from localrouter.schema.chat_messages import Message
from localrouter.schema.field_kinds import (
    MAX_TOKENS,
    Ignored,
    Integer,
    JsonObject,
    Several,
    Tokens,
    Unsupported,
    invalid,
)
from localrouter.schema.generation_fields import (
    MAX_LOGPROBS,
    UNSTORED,
    PromptLogprobFields,
)
from localrouter.schema.tools import (
    MAX_TOOLS,
    FunctionChoice,
    FunctionDefinition,
    Tool,
    ToolChoice,
)

MAX_CHOICES = 128
"""OpenAI's own limit of `n`; a model generates at most as many choices at once as it has sequences."""

CACHED = Ignored("prefixes of prompts are cached anyway")


def _texts(metadata: JsonObject | None) -> JsonObject | None:
    if metadata and not all(isinstance(value, str) for value in metadata.values()):
        raise invalid("The values of 'metadata' must be strings.")
    return metadata


def _effort(value: object) -> object:
    """Return an effort; some clients write the default as a word or as no text."""
    return None if value in ("", "default") else value


Effort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class ChatRequest(PromptLogprobFields):
    """The body of `POST /v1/chat/completions`. `None` is the same as leaving a field out."""

    messages: Several[Message] = Field(description="at least one; see below")
    n: Annotated[Integer, Field(ge=1, le=MAX_CHOICES)] | None = Field(
        None, description="choices for the prompt, which is computed once; at most as many as the model has sequences"
    )
    max_tokens: Tokens | None = Field(None, description="the older name of `max_completion_tokens`")
    max_completion_tokens: Tokens | None = Field(
        None, description="at least 1; default, as -1: to the end of the context"
    )
    logprobs: bool | None = Field(None, description="default false; see below")
    top_logprobs: Annotated[Integer, Field(ge=0, le=MAX_LOGPROBS)] | None = Field(
        None, description=f"0 to {MAX_LOGPROBS}, default 0; only with `logprobs`"
    )

    tools: Annotated[list[Tool], Field(fail_fast=True, max_length=MAX_TOOLS)] | None = Field(
        None, description="functions that the model may call, at most 512; their arguments obey `parameters`, see below"
    )
    tool_choice: ToolChoice | None = Field(
        None, description="`none`, `auto`, `required`, a named function, or `allowed_tools`"
    )
    parallel_tool_calls: bool | None = Field(None, description="default true; false: at most one call")
    functions: Annotated[list[FunctionDefinition], Field(fail_fast=True, max_length=MAX_TOOLS)] | None = Field(
        None, description="the older form of `tools`; answered in the older form too"
    )
    function_call: FunctionChoice | None = Field(None, description="the older form of `tool_choice`")
    reasoning_effort: Annotated[Effort | None, BeforeValidator(_effort)] = Field(
        None, description="`none` turns reasoning off where the model can; the others limit its length; see below"
    )
    enable_thinking: bool | None = Field(
        None, description='not OpenAI\'s: false is `reasoning_effort: "none"`; true asks the template for reasoning'
    )
    include_reasoning: bool | None = Field(
        None, description="not OpenAI's: default true; false: reasoning is generated, and not part of the response"
    )

    reasoning_budget: Annotated[Integer, Field(ge=0, le=MAX_TOKENS)] | None = Field(
        None, description="not OpenAI's: tokens after which reasoning is ended"
    )
    chat_template_kwargs: JsonObject | None = Field(
        None, description="not OpenAI's: variables for the model's chat template, `enable_thinking` for instance"
    )
    continue_final_message: bool | None = Field(
        None, description="not OpenAI's: default false; true: the output continues the last message, the assistant's"
    )

    verbosity: Literal["low", "medium", "high"] | None = Field(
        None, description="given to a chat template that reads it, else without effect"
    )

    add_generation_prompt: Annotated[
        bool | None, Ignored("the assistant's turn begins, or with `continue_final_message` its last one goes on")
    ] = None
    safety_identifier: Annotated[str | None, UNSTORED] = None
    metadata: Annotated[JsonObject | None, AfterValidator(_texts), UNSTORED] = None
    store: Annotated[bool | None, UNSTORED] = None
    prompt_cache_key: Annotated[str | None, CACHED] = None
    prompt_cache_options: Annotated[dict[str, object] | None, CACHED] = None
    prompt_cache_retention: Annotated[str | None, CACHED] = None
    prediction: Annotated[JsonObject | None, Ignored("it changes the speed of an output, never its text")] = None
    service_tier: Annotated[
        Literal["auto", "default", "flex", "scale", "priority", "fast"] | None,
        Ignored("all requests have the same priority"),
    ] = None

    audio: Annotated[object, Unsupported()] = None
    modalities: Annotated[object, Unsupported((["text"],))] = None
    moderation: Annotated[object, Unsupported()] = None
    web_search_options: Annotated[object, Unsupported()] = None

    @field_validator("top_logprobs")
    @classmethod
    def _top_needs_logprobs(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value and not info.data.get("logprobs"):
            raise invalid("The 'top_logprobs' parameter is only allowed with 'logprobs'.")
        return value

    @field_validator("enable_thinking")
    @classmethod
    def _one_effort(cls, value: bool | None, info: ValidationInfo) -> bool | None:
        effort = info.data.get("reasoning_effort")
        if value is not None and effort is not None and value != (effort != "none"):
            raise invalid("{field} and 'reasoning_effort' contradict each other; send one of them.")
        return value

    @field_validator("chat_template_kwargs")
    @classmethod
    def _one_switch(cls, value: JsonObject | None, info: ValidationInfo) -> JsonObject | None:
        switch = info.data.get("enable_thinking")
        if switch is not None and (value or {}).get("enable_thinking", switch) is not switch:
            raise invalid("'enable_thinking' and 'chat_template_kwargs.enable_thinking' contradict each other.")
        return value

    @field_validator("add_generation_prompt")
    @classmethod
    def _begins_a_turn(cls, value: bool | None, info: ValidationInfo) -> bool | None:
        if value is False and not info.data.get("continue_final_message"):
            message = "{field} is only supported as true, and beside 'continue_final_message'."
            raise PydanticCustomError("unsupported_parameter", message)
        return value

    @field_validator("max_completion_tokens")
    @classmethod
    def _one_limit(cls, value: int | None, info: ValidationInfo) -> int | None:
        older = info.data.get("max_tokens")
        if value is not None and older is not None and value != older:
            raise invalid("'max_tokens' and 'max_completion_tokens' say different things; send one of them.")
        return value

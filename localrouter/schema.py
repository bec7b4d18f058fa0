"""OpenAI's chat schema, as far as localrouter speaks it: pydantic for what people write, msgspec for what we answer.

Every request field of OpenAI's stands here and is of one of three kinds: honoured (it has a type of its own), `Later`
(only the values that ask for nothing pass) or `Ignored` (known, checked, without effect). docs/api.md is generated from
this.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

JsonObject: TypeAlias = dict[str, Any]

MAX_TOKENS = 2**31 - 1
"""No context is longer; a larger number is a mistake and would not fit into what the engine counts with."""

MAX_BIASED = 300
"""Tokens that one `logit_bias` may name."""

_TOKEN = re.compile("0|[1-9][0-9]{0,9}")


@dataclass(frozen=True, eq=False)  # equal marks would be one to `Annotated`, and 0 equals False
class Later:
    """Marks a field that is not supported yet. Null and the `neutral` values ask for nothing, so they are honoured."""

    neutral: tuple[object, ...] = ()

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return a schema that lets only the neutral values pass."""
        return core_schema.no_info_after_validator_function(self._check, core_schema.any_schema())

    def _check(self, value: object) -> object:
        if value is None or any(_same(value, neutral) for neutral in self.neutral):
            return value
        raise PydanticCustomError(
            "unsupported_parameter",
            "{field} is not supported yet{unless}.",
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


UNSTORED = Ignored("nothing is stored")
CACHED = Ignored("prompts that begin alike are shared anyway, as long as there is room")


def _refuse(kinds: tuple[str, ...], message: str) -> BeforeValidator:
    """Return a check that names what OpenAI knows and localrouter does not support yet."""

    def check(value: object) -> object:
        if isinstance(value, str) and value in kinds:
            raise PydanticCustomError("unsupported_parameter", message, {"value": value})
        return value

    return BeforeValidator(check)


class _Strict(BaseModel):
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


class TextPart(_Strict):
    """One text part of a message's content."""

    type: Annotated[
        Literal["text"],
        _refuse(
            ("image_url", "input_audio", "file", "refusal", "video_url"),
            "Content of type '{value}' is not supported yet; only parts of type 'text' are.",
        ),
    ]
    text: str
    prompt_cache_breakpoint: Annotated[object, CACHED] = None


def _kind_of_content(value: object) -> str | None:
    if isinstance(value, str):
        return "<text>"
    return "<parts>" if isinstance(value, list) else None


Content: TypeAlias = Annotated[
    Annotated[str, Tag("<text>")] | Annotated[Several[TextPart], Tag("<parts>")],
    Discriminator(_kind_of_content, custom_error_type="content_type", custom_error_message="neither string nor array"),
]


class Message(_Strict):
    """One turn of the conversation."""

    role: Annotated[
        Literal["system", "developer", "user", "assistant"],
        _refuse(("tool", "function"), "Messages of the role '{value}' are not supported yet."),
    ] = Field(description="`system`, `developer`, `user`, `assistant`; `tool` and `function` are not supported yet")
    content: Content = Field(description='a string, or an array of `{"type": "text", "text": ...}`')
    name: Annotated[object, Later()] = None
    refusal: Annotated[object, Later()] = None
    tool_calls: Annotated[object, Later(([],))] = None
    tool_call_id: Annotated[object, Later()] = None
    function_call: Annotated[object, Later()] = None
    audio: Annotated[object, Later()] = None
    annotations: Annotated[object, Later(([],))] = None

    @property
    def text(self) -> str:
        """The content as one string; parts are joined without anything between them."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class StreamOptions(_Strict):
    """Options of a streamed answer."""

    include_usage: Annotated[bool, BeforeValidator(lambda value: False if value is None else value)] = False
    include_obfuscation: Annotated[object, Later((False,))] = None


def _texts(metadata: JsonObject | None) -> JsonObject | None:
    if metadata and not all(isinstance(value, str) for value in metadata.values()):
        raise PydanticCustomError("invalid_value", "The values of 'metadata' must be strings.")
    return metadata


def _bias(value: object) -> object:
    """Return the bias with numbers for keys, which JSON has as strings. Stops at the first mistake."""
    if not isinstance(value, dict):
        return value
    if len(value) > MAX_BIASED:
        raise PydanticCustomError(
            "invalid_value", f"Invalid value for {{field}}: expected at most {MAX_BIASED} tokens."
        )
    for token, bias in value.items():
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise PydanticCustomError("invalid_value", "The keys of {field} must be the numbers of tokens, as strings.")
        if isinstance(bias, bool) or not isinstance(bias, int | float) or not -100 <= bias <= 100:
            raise PydanticCustomError("invalid_value", "The values of {field} must be numbers from -100 to 100.")
    return {int(token): float(bias) for token, bias in value.items()}


Number = Annotated[float, Field(allow_inf_nan=False)]
Penalty = Annotated[Number, Field(ge=-2, le=2)]
StopString = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Stop: TypeAlias = Annotated[
    Annotated[StopString, Tag("<text>")]
    | Annotated[list[StopString], Field(fail_fast=True, max_length=4), Tag("<parts>")],
    Discriminator(_kind_of_content, custom_error_type="stop_type", custom_error_message="neither string nor array"),
]
Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]


class ChatRequest(_Strict):
    """The body of `POST /v1/chat/completions`. `None` is the same as leaving a field out."""

    model: Annotated[str, StringConstraints(min_length=1, max_length=512)] = Field(description="alias or full name")
    messages: Several[Message] = Field(description="at least one; see below")
    stream: bool | None = Field(None, description="default false")
    stream_options: StreamOptions | None = Field(
        None, description="only with `stream`; `include_usage`, and `include_obfuscation` when false"
    )
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = Field(None, description="0 to 2, default 1; 0 is greedy")
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = Field(None, description="0 to 1, default 1")
    max_tokens: Tokens | None = Field(None, description="the older name of `max_completion_tokens`")
    max_completion_tokens: Tokens | None = Field(None, description="at least 1; default: to the end of the context")
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = Field(
        None, description="the same request with the same `system_fingerprint` draws the same tokens"
    )
    presence_penalty: Penalty | None = Field(None, description="-2 to 2, default 0; for tokens that the answer has")
    frequency_penalty: Penalty | None = Field(None, description="-2 to 2, default 0; for each time the answer has them")
    logit_bias: Annotated[dict[int, float] | None, BeforeValidator(_bias)] = Field(
        None, description=f"at most {MAX_BIASED} tokens by number, each -100 to 100; see below"
    )
    logprobs: bool | None = Field(None, description="default false; see below")
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = Field(
        None, description="0 to 20, default 0; only with `logprobs`"
    )
    stop: Stop | None = Field(None, description="a string, or up to 4; see below")
    top_k: Annotated[int, Field(ge=0, le=MAX_TOKENS)] | None = Field(
        None, description="not OpenAI's: draw from the likeliest so many; default 0, from all"
    )
    min_p: Annotated[Number, Field(ge=0, le=1)] | None = Field(
        None, description="not OpenAI's: 0 to 1, default 0; the least probability, as a share of the likeliest's"
    )
    repeat_penalty: Annotated[Number, Field(gt=0, le=2)] | None = Field(
        None, description="not OpenAI's: above 0, to 2, default 1; for tokens of the prompt and of the answer"
    )

    user: Annotated[str | None, UNSTORED] = None
    safety_identifier: Annotated[str | None, UNSTORED] = None
    metadata: Annotated[JsonObject | None, AfterValidator(_texts), UNSTORED] = None
    store: Annotated[bool | None, UNSTORED] = None
    prompt_cache_key: Annotated[str | None, CACHED] = None
    prompt_cache_options: Annotated[dict[str, object] | None, CACHED] = None
    prompt_cache_retention: Annotated[str | None, CACHED] = None

    audio: Annotated[object, Later()] = None
    function_call: Annotated[object, Later(("none", "auto"))] = None
    functions: Annotated[object, Later(([],))] = None
    modalities: Annotated[object, Later((["text"],))] = None
    moderation: Annotated[object, Later()] = None
    n: Annotated[object, Later((1,))] = None
    parallel_tool_calls: Annotated[object, Later((True, False))] = None
    prediction: Annotated[object, Later()] = None
    reasoning_effort: Annotated[object, Later()] = None
    response_format: Annotated[object, Later(({"type": "text"},))] = None
    service_tier: Annotated[object, Later(("auto", "default"))] = None
    tool_choice: Annotated[object, Later(("none", "auto"))] = None
    tools: Annotated[object, Later(([],))] = None
    verbosity: Annotated[object, Later(("medium",))] = None
    web_search_options: Annotated[object, Later()] = None

    @field_validator("stream_options")
    @classmethod
    def _options_need_a_stream(cls, value: StreamOptions | None, info: ValidationInfo) -> StreamOptions | None:
        if value is not None and not info.data.get("stream"):
            raise PydanticCustomError("invalid_value", "The 'stream_options' parameter is only allowed with 'stream'.")
        return value

    @field_validator("top_logprobs")
    @classmethod
    def _top_needs_logprobs(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value and not info.data.get("logprobs"):
            raise PydanticCustomError("invalid_value", "The 'top_logprobs' parameter is only allowed with 'logprobs'.")
        return value

    @field_validator("max_completion_tokens")
    @classmethod
    def _one_limit(cls, value: int | None, info: ValidationInfo) -> int | None:
        older = info.data.get("max_tokens")
        if value is not None and older is not None and value != older:
            raise PydanticCustomError(
                "invalid_value", "'max_tokens' and 'max_completion_tokens' say different things; send one of them."
            )
        return value


class PromptTokensDetails(msgspec.Struct, frozen=True):
    """Of the tokens of the prompt, those that were in the cache already and not computed again."""

    cached_tokens: int


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the tokenizer counts them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails


class AnswerMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The assistant's message."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class TopLogprob(msgspec.Struct, frozen=True):
    """A token that might have been drawn. `bytes` is null for control tokens, which stand for no text."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(msgspec.Struct, frozen=True):
    """A token of the answer. `token` has U+FFFD for a character that other tokens have a part of; `bytes` is exact."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(msgspec.Struct, frozen=True):
    """The tokens of an answer, or of a chunk of it, in their order."""

    content: list[TokenLogprob]
    refusal: None = None


class Choice(msgspec.Struct, frozen=True):
    """One answer. `logprobs` is null where the request does not ask for them."""

    index: int
    message: AnswerMessage
    finish_reason: Literal["stop", "length"]
    logprobs: ChoiceLogprobs | None = None


class ChatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a plain answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str


class Delta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a chunk adds to the message."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(msgspec.Struct, frozen=True):
    """The one choice of a chunk."""

    index: int
    delta: Delta
    finish_reason: Literal["stop", "length"] | None = None
    logprobs: ChoiceLogprobs | None = None


class ChatChunk(msgspec.Struct, kw_only=True):
    """One event of a streamed answer. `usage` is left out unless it was asked for."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: Usage | msgspec.UnsetType | None = msgspec.UNSET

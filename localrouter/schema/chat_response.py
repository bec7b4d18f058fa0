"""What chat completions are answered with."""

from typing import Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "function_call"]


class PromptTokensDetails(msgspec.Struct, frozen=True):
    """Of the tokens of the prompt, those that were in the cache already and not computed again."""

    cached_tokens: int


class CompletionTokensDetails(msgspec.Struct, frozen=True):
    """Of the tokens of all answers, those of thoughts. No token was predicted by the client."""

    reasoning_tokens: int
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the tokenizer counts them: the prompt once, and all answers to it."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class FunctionCall(msgspec.Struct, frozen=True):
    """A function that is to be called, and its arguments as JSON."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call of a tool."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class AssistantMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The assistant's message. Its content is null when it has none beside its calls or thoughts."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    function_call: FunctionCall | UnsetType = UNSET


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


class ChatChoice(msgspec.Struct, frozen=True):
    """One answer. `logprobs` is null where the request does not ask for them."""

    index: int
    message: AssistantMessage
    finish_reason: FinishReason
    logprobs: ChoiceLogprobs | None = None


class ChatCompletionResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a plain answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    system_fingerprint: str
    service_tier: Literal["default"] = "default"


class DeltaFunction(msgspec.Struct, frozen=True, omit_defaults=True):
    """The name comes whole and first, then the arguments piece by piece."""

    name: str | None = None
    arguments: str | None = None


class DeltaCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a chunk adds to a call: `id`, `type` and the name of its function first."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: DeltaFunction | None = None


class Delta(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a chunk adds to the message."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[DeltaCall] | None = None
    function_call: DeltaFunction | None = None


class ChunkChoice(msgspec.Struct, frozen=True):
    """What a chunk has of one choice."""

    index: int
    delta: Delta
    finish_reason: FinishReason | None = None
    logprobs: ChoiceLogprobs | None = None


class ChatCompletionChunk(msgspec.Struct, kw_only=True):
    """One event of a streamed answer. `usage` is left out unless it was asked for."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: Usage | UnsetType | None = UNSET

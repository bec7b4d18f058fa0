"""Responses and chunks of chat completions."""

from typing import Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "function_call"]


class PromptTokensDetails(msgspec.Struct, frozen=True):
    """Prompt tokens that were cached and not computed again."""

    cached_tokens: int


class CompletionTokensDetails(msgspec.Struct, frozen=True):
    """Completion tokens by kind, over all choices. Predicted outputs are not supported, so their counts are 0."""

    reasoning_tokens: int
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Usage(msgspec.Struct, frozen=True):
    """Token counts of a request: each prompt once, and all choices."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Durations of a request, with llama-server's names. Rates are null where nothing can be divided."""

    queued_ms: float
    """Milliseconds from the acceptance of the prompt to the first step that computes it."""
    cache_n: int
    """Prompt tokens that were cached."""
    prompt_n: int
    """Prompt tokens that were computed."""
    prompt_ms: float
    """Milliseconds from that step to the first sampled token."""
    prompt_per_token_ms: float | None
    prompt_per_second: float | None
    predicted_n: int
    """Completion tokens."""
    predicted_ms: float
    """Milliseconds from the first sampled token to the last one."""
    predicted_per_token_ms: float | None
    """Milliseconds per token after the first one, whose time is part of `prompt_ms`."""
    predicted_per_second: float | None


class FunctionCall(msgspec.Struct, frozen=True):
    """A function to call, and its arguments as JSON text."""

    name: str
    arguments: str


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A tool call."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class PromptLogprob(msgspec.Struct, frozen=True):
    """A token in one place of a prompt, in vLLM's form. `rank` is 1 for the likeliest token in this place."""

    logprob: float
    rank: int
    decoded_token: str


PromptLogprobList: TypeAlias = list[dict[int, PromptLogprob] | None]
"""For each token of a prompt itself and the likeliest tokens in its place, by token id; null for the first token."""


class AssistantMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The assistant's message. Its content is null where it has tool calls or reasoning alone."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: None = None
    reasoning_content: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    function_call: FunctionCall | UnsetType = UNSET


class TopLogprob(msgspec.Struct, frozen=True):
    """A likely token at a position. `bytes` is null for control tokens, which have no text."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(msgspec.Struct, frozen=True):
    """A token of the output. `token` has U+FFFD for a character that several tokens share; `bytes` is exact."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(msgspec.Struct, frozen=True):
    """The tokens of a choice, or of a chunk of it, in order."""

    content: list[TokenLogprob]
    refusal: None = None


class ChatChoice(msgspec.Struct, frozen=True):
    """One choice. `logprobs` is null where the request does not ask for them."""

    index: int
    message: AssistantMessage
    finish_reason: FinishReason
    logprobs: ChoiceLogprobs | None = None


class ChatCompletionResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a response that is not streamed."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage
    system_fingerprint: str
    service_tier: Literal["default"] = "default"
    prompt_logprobs: PromptLogprobList | UnsetType = UNSET
    """vLLM's field, where the request asks for it."""
    timings: Timings | UnsetType = UNSET


class DeltaFunction(msgspec.Struct, frozen=True, omit_defaults=True):
    """Part of a called function: the whole name first, then the arguments piece by piece."""

    name: str | None = None
    arguments: str | None = None


class DeltaCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """Part of a tool call in a chunk: `id`, `type` and the function's name first."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: DeltaFunction | None = None


class Delta(msgspec.Struct, frozen=True, omit_defaults=True):
    """Part of the assistant's message in a chunk."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[DeltaCall] | None = None
    function_call: DeltaFunction | None = None


class ChunkChoice(msgspec.Struct, frozen=True):
    """Part of one choice in a chunk."""

    index: int
    delta: Delta
    finish_reason: FinishReason | None = None
    logprobs: ChoiceLogprobs | None = None


class ChatCompletionChunk(msgspec.Struct, kw_only=True):
    """One event of a streamed response. `usage` and `timings` are omitted unless the request asks for them.

    `prompt_logprobs` are not streamed: the last chunk has them where it is folded into a response.
    """

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChunkChoice]
    usage: Usage | UnsetType | None = UNSET
    timings: Timings | UnsetType = UNSET
    prompt_logprobs: PromptLogprobList | UnsetType = UNSET

"""`POST /v1/completions`, the older route: request and response."""

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType
from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from localrouter.schema.chat_request import MAX_CHOICES
from localrouter.schema.chat_response import PromptLogprobList, Timings, Usage
from localrouter.schema.field_kinds import MAX_TOKENS, Integer, TokensOrNone, invalid
from localrouter.schema.generation_fields import (
    MAX_LOGPROBS,
    PromptLogprobFields,
)

MAX_PROMPTS = MAX_CHOICES
"""Maximum number of prompts of one request, and of choices for all prompts together."""

DEFAULT_MAX_TOKENS = 16
"""OpenAI's own default of this route."""

MAX_TOKEN_LIST = 2**20
"""Tokens of one list in a request; no context is longer."""


def _kind_of_prompt(value: object) -> str | None:
    """Return the tag of a prompt, by its first item where it is an array."""
    if isinstance(value, str):
        return "<text>"
    if not isinstance(value, list):
        return None
    first = value[0] if value else None
    if isinstance(first, str):
        return "<texts>"
    return "<token_lists>" if isinstance(first, list) else "<tokens>"


Token = Annotated[int, Field(ge=0, le=MAX_TOKENS)]
TokenList = Annotated[list[Token], Field(fail_fast=True, min_length=1, max_length=MAX_TOKEN_LIST)]
Prompt: TypeAlias = Annotated[
    Annotated[str, Tag("<text>")]
    | Annotated[list[str], Field(fail_fast=True, max_length=MAX_PROMPTS), Tag("<texts>")]
    | Annotated[TokenList, Tag("<tokens>")]
    | Annotated[list[TokenList], Field(fail_fast=True, max_length=MAX_PROMPTS), Tag("<token_lists>")],
    Discriminator(_kind_of_prompt, custom_error_type="prompt_type", custom_error_message="neither text nor tokens"),
]


class CompletionRequest(PromptLogprobFields):
    """The body of `POST /v1/completions`. `None` is the same as leaving a field out."""

    prompt: Prompt = Field(description=f"a string, an array of at most {MAX_PROMPTS}, or the same in tokens; see below")
    n: Annotated[Integer, Field(ge=1, le=MAX_CHOICES)] | None = Field(
        None, description=f"choices per prompt, default 1; at most {MAX_CHOICES} for all prompts together"
    )
    best_of: Annotated[Integer, Field(ge=1, le=MAX_CHOICES)] | None = Field(None, description="1, or as `n`")
    max_tokens: TokensOrNone | None = Field(
        None, description=f"default {DEFAULT_MAX_TOKENS}; 0 computes the prompt only"
    )
    logprobs: Annotated[Integer, Field(ge=0, le=MAX_LOGPROBS)] | None = Field(
        None,
        description=f"0 to {MAX_LOGPROBS}: number of likeliest tokens reported beside the sampled one; see below",
    )
    echo: bool | None = Field(
        None, description="default false; true: the prompt comes first, with `logprobs` those of its tokens too"
    )
    suffix: str | None = Field(
        None, description="text after the output, for models with fill-in-the-middle tokens; not with `echo`; see below"
    )

    @field_validator("n")
    @classmethod
    def _not_too_many(cls, value: int | None, info: ValidationInfo) -> int | None:
        prompts = len(_several(info.data.get("prompt", "")))
        if value is not None and value * prompts > MAX_CHOICES:
            raise invalid(f"'n' choices for each of {prompts} prompts are more than {MAX_CHOICES}.")
        return value

    @field_validator("best_of")
    @classmethod
    def _nothing_to_choose(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value not in (None, 1, info.data.get("n") or 1):
            message = "{field} is only supported where it is 1 or equal to 'n': all choices are returned."
            raise PydanticCustomError("unsupported_parameter", message)
        return value

    @field_validator("suffix")
    @classmethod
    def _one_text_around_the_output(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value and info.data.get("echo"):
            raise PydanticCustomError("unsupported_parameter", "{field} is not supported with 'echo'.")
        return value

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts, each as text or as tokens."""
        return _several(self.prompt)


def _several(prompt: str | list[str] | list[int] | list[list[int]]) -> list[str | list[int]]:
    if isinstance(prompt, str):
        return [prompt]
    tokens = [item for item in prompt if isinstance(item, int)]
    return [tokens] if tokens else [item for item in prompt if not isinstance(item, int)]


class TextLogprobs(msgspec.Struct, frozen=True):
    """The tokens of a choice, or of a chunk of it: each list has one entry per token.

    A token that is not UTF-8 by itself reads `bytes:` and its bytes as `\\xNN`.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    """Null for the first token of a prompt."""
    top_logprobs: list[dict[str, float] | None]
    """The likeliest tokens at the position of each token, and the token itself; null for the first of a prompt."""
    text_offset: list[int]
    """Where each token begins in the text of the choice, in characters."""


class TextChoice(msgspec.Struct, frozen=True):
    """One choice, or the part of it in a chunk."""

    index: int
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: Literal["stop", "length"] | None = None
    prompt_logprobs: PromptLogprobList | UnsetType = UNSET
    """vLLM's field, where the request asks for it."""


class TextCompletionResponse(msgspec.Struct, kw_only=True):
    """The body of a response, or one event of a stream, which has `usage` only if the request asks for it.

    `timings` are omitted unless the request asks for them.
    """

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[TextChoice]
    usage: Usage | UnsetType | None = UNSET
    timings: Timings | UnsetType = UNSET

"""The response of `POST /v1/chat/completions/explain`: the rendered prompt and the effective parameters."""

from collections.abc import Iterable
from typing import Literal, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from localrouter.schema.field_kinds import JsonObject
from localrouter.schema.generation_fields import GenerationFields
from localrouter.schema.ignored_fields import IgnoredField


class ExplainedToken(msgspec.Struct, frozen=True):
    """A token of the prompt. `text` has U+FFFD for a character that other tokens have a part of; `bytes` is exact."""

    id: int
    text: str
    bytes: list[int]


class ExplainedStep(msgspec.Struct, frozen=True):
    """One change that fits the conversation to the model's chat template."""

    what: str
    message: int | None
    """Index of the changed message in the request; null: all messages, or none of them."""
    why: str


class ExplainedTemplate(msgspec.Struct, frozen=True):
    """The chat template that rendered the prompt."""

    source: str
    """`model`, `manifest`, or `fallback` and the turn format of the vocabulary: `fallback chatml`."""
    sha256: str
    family: str
    """Family of the model: its syntax of reasoning and tool calls."""


class ExplainedSampling(msgspec.Struct, frozen=True, kw_only=True):
    """The effective sampling parameters, defaults included."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    presence_penalty: float
    frequency_penalty: float
    repeat_penalty: float
    logit_bias: dict[str, float]
    seed: int | None
    stop: list[str]
    stop_token_ids: list[int]
    min_tokens: int
    ignore_eos: bool


class ExplainedReasoning(msgspec.Struct, frozen=True):
    """Where the output begins (inside reasoning, where it may begin, or neither), and the reasoning budget."""

    thought: Literal["none", "open", "optional"]
    budget: int | None
    """Tokens after which reasoning is ended; null: no limit."""


class NotEnforced(msgspec.Struct, frozen=True):
    """A part of a schema that the output may violate. `field` is its path in the request."""

    field: str
    why: str


Part = TypeVar("Part", NotEnforced, IgnoredField)


def as_sent(parts: Iterable[Part], request: GenerationFields) -> list[Part]:
    """Return parts of a request by their paths in the body of the client, which may have foreign fields."""
    return [msgspec.structs.replace(each, field=request.as_sent(each.field)) for each in parts]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that determines the output for a request."""

    object: Literal["chat.completion.explanation"] = "chat.completion.explanation"
    model: str
    system_fingerprint: str
    template: ExplainedTemplate
    steps: list[ExplainedStep]
    prompt: str
    prompt_tokens: int
    tokens: list[ExplainedToken]
    context_length: int
    max_completion_tokens: int
    """The limit of the request or the rest of the context, whichever is less; 0: the prompt is too long."""
    n: int
    sampling: ExplainedSampling
    alias_defaults: list[str]
    """Fields that the request leaves out and the alias sets: sampling parameters, and `system` for a system message."""
    reasoning: ExplainedReasoning
    callable: list[str]
    """Names of the functions that the model may call."""
    must_call: bool
    grammar: str | None
    """Grammar of the output, in llguidance's dialect of Lark; null for none."""
    ignored: list[IgnoredField]
    """Fields of the request that have no effect."""
    not_enforced: list[NotEnforced]
    """Parts of schemas that no grammar can enforce, so that the output may violate them."""
    chat_request: JsonObject | UnsetType = UNSET
    """The chat request that a request of another API became."""

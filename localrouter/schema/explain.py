"""What `POST /v1/chat/completions/explain` is answered with: what would be asked of the model, and how."""

from typing import Literal

import msgspec


class ExplainedToken(msgspec.Struct, frozen=True):
    """A token of the prompt. `text` has U+FFFD for a character that other tokens have a part of; `bytes` is exact."""

    id: int
    text: str
    bytes: list[int]


class ExplainedStep(msgspec.Struct, frozen=True):
    """Something that was done to the conversation so that the model's template takes it."""

    what: str
    message: int | None
    """Which message of the request it was done to; null: to all, or to none of them."""
    why: str


class ExplainedTemplate(msgspec.Struct, frozen=True):
    """The chat template that made the prompt."""

    source: str
    """`model`, `manifest`, or `fallback` and the turn format of the vocabulary: `fallback chatml`."""
    sha256: str
    family: str
    """How the model writes thoughts and calls."""


class ExplainedSampling(msgspec.Struct, frozen=True, kw_only=True):
    """How tokens are drawn, defaults included."""

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


class ExplainedReasoning(msgspec.Struct, frozen=True):
    """Where the answer begins (inside a thought, where one may begin, or neither), and how long a thought may be."""

    thought: Literal["none", "open", "optional"]
    budget: int | None
    """Tokens after which a thought is ended; null: as long as it likes."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides an answer, without the answer."""

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
    """What the request asks for, or what the context has room for, whichever is less; 0: the prompt is too long."""
    n: int
    sampling: ExplainedSampling
    reasoning: ExplainedReasoning
    callable: list[str]
    """Functions that the answer may call."""
    must_call: bool
    grammar: str | None
    """What the answer has to obey, in llguidance's dialect of Lark; null: nothing."""

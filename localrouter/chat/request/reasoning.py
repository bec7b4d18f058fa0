"""Reasoning of one request: whether the model reasons, whether the output begins inside reasoning, and its budget."""

from collections.abc import Collection
from typing import Literal, TypeAlias

from localrouter.chat.families.family import Family
from localrouter.chat.prompt.chat_prompt import Prompt
from localrouter.engine.generation_request import Thinking
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.field_kinds import JsonObject
from localrouter.schema.ignored_fields import IgnoredField

ReasoningState: TypeAlias = Literal["none", "open", "optional"]
"""Where an output begins: after or without reasoning, inside reasoning, or where the model may begin to reason."""

BUDGETS = {"minimal": 256, "low": 1024, "medium": 4096, "high": 16_384}
"""Tokens of reasoning for each `reasoning_effort`; efforts above high have no budget."""


def template_variables(request: ChatRequest) -> JsonObject:
    """Return the variables of the chat template: the client's own, and those that fields of the request stand for.

    These are `reasoning_effort`, `enable_thinking` for it, which Qwen's and Gemma's templates read, and `verbosity`. A
    template ignores those that it does not read.
    """
    variables = dict(request.chat_template_kwargs or {})
    if request.enable_thinking is not None or request.reasoning_effort is not None:
        variables.setdefault("enable_thinking", not _is_switched_off(request))
    if request.reasoning_effort is not None:
        variables.setdefault("reasoning_effort", request.reasoning_effort)
    if request.verbosity is not None:
        variables.setdefault("verbosity", request.verbosity)
    return variables


def unread_fields(request: ChatRequest, unread: Collection[str]) -> list[IgnoredField]:
    """Return the fields of a request that have no effect, for they are only for variables that no template reads.

    `unread` are the variables that the model's chat template does not read.
    """
    own = request.chat_template_kwargs or {}
    names = [f"chat_template_kwargs.{name}" for name in own if name in unread]
    if request.verbosity is not None and "verbosity" in unread:
        names.append("verbosity")
    return [IgnoredField(name, "the model's chat template does not read it") for name in names]


def _is_switched_off(request: ChatRequest) -> bool:
    return request.enable_thinking is False or request.reasoning_effort == "none"


def thinking_of(request: ChatRequest, family: Family, *, is_open: bool) -> Thinking:
    """Return the delimiters and the budget of reasoning. `is_open`: the prompt ends inside reasoning."""
    budget = request.reasoning_budget
    if _is_switched_off(request):
        budget = 0
    elif budget is None and request.reasoning_effort is not None:
        budget = BUDGETS.get(request.reasoning_effort)
    return Thinking(family.reasoning.begin, family.reasoning.end, is_open, budget)


def reasoning_state(prompt: Prompt, family: Family, *, can_reason: bool) -> ReasoningState:
    """Return where the output for a prompt begins. `can_reason`: the model's template has delimiters of reasoning."""
    if prompt.in_reasoning:
        return "open"
    last = prompt.segments[-1:]
    is_over = any(segment.control and segment.text.rstrip().endswith(family.reasoning.end) for segment in last)
    return "optional" if can_reason and not is_over else "none"

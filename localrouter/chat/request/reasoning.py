"""Reasoning of one request: whether the model reasons, whether the output begins inside reasoning, and its budget."""

from typing import Literal, TypeAlias

from localrouter.chat.families.family import Family
from localrouter.chat.prompt.chat_prompt import Prompt
from localrouter.engine.messages import Thinking
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.field_kinds import JsonObject

ReasoningState: TypeAlias = Literal["none", "open", "optional"]
"""Where an output begins: after or without reasoning, inside reasoning, or where the model may begin to reason."""

BUDGETS = {"minimal": 256, "low": 1024, "medium": 4096, "high": 16_384}
"""Tokens of reasoning for each `reasoning_effort`; efforts above high have no budget."""


def template_variables(request: ChatRequest) -> JsonObject:
    """Return the variables of the chat template: the client's own, and `enable_thinking` for a `reasoning_effort`.

    Qwen's and Gemma's templates read `enable_thinking`; others ignore it.
    """
    variables = dict(request.chat_template_kwargs or {})
    if request.enable_thinking is not None or request.reasoning_effort is not None:
        variables.setdefault("enable_thinking", not _is_switched_off(request))
    return variables


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

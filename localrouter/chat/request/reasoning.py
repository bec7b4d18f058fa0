"""How a request wants the model to think, as far as models can be told."""

from typing import Literal, TypeAlias

from localrouter.chat.families.family import Family
from localrouter.chat.prompt.chat_prompt import Prompt
from localrouter.engine.messages import Thinking
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.field_kinds import JsonObject

ThoughtState: TypeAlias = Literal["none", "open", "optional"]
"""Where an answer begins: after or without a thought, inside one, or where the model may begin one."""

BUDGETS = {"minimal": 256, "low": 1024, "medium": 4096, "high": 16_384}
"""Tokens of thought for each `reasoning_effort`; more than high is not bounded."""


def template_variables(request: ChatRequest) -> JsonObject:
    """Return what the model's template is told: the client's own variables, and whether to think, if it says so.

    `enable_thinking` is the name in the templates of Qwen and Gemma; others do not read it.
    """
    told = dict(request.chat_template_kwargs or {})
    if request.reasoning_effort is not None:
        told.setdefault("enable_thinking", request.reasoning_effort != "none")
    return told


def thinking_of(request: ChatRequest, family: Family, *, is_open: bool) -> Thinking:
    """Return how the answer's thoughts are found, and when they end. `is_open`: the prompt ends inside a thought."""
    budget = request.reasoning_budget
    if budget is None and request.reasoning_effort is not None:
        budget = 0 if request.reasoning_effort == "none" else BUDGETS.get(request.reasoning_effort)
    return Thinking(family.thought.begin, family.thought.end, is_open, budget)


def thought_state(prompt: Prompt, family: Family, *, thinks: bool) -> ThoughtState:
    """Return where the answer to a prompt begins. `thinks`: the model's template knows thoughts."""
    if prompt.in_reasoning:
        return "open"
    last = prompt.segments[-1:]
    is_over = any(segment.control and segment.text.rstrip().endswith(family.thought.end) for segment in last)
    return "optional" if thinks and not is_over else "none"

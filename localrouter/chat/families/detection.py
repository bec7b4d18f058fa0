"""Detection of a model's family, from its own chat template; names of models and architectures say less."""

import re

from localrouter.chat.families.family import Family
from localrouter.chat.families.gemma import GEMMA4
from localrouter.chat.families.prompted_tools import FALLBACK
from localrouter.chat.families.qwen import QWEN3, QWEN3_CODER
from localrouter.engine.model_info import ModelInfo

_SYNTAXES = (
    ((r"<function=", r"<parameter="), QWEN3_CODER),
    ((r"<\|tool_call>",), GEMMA4),
    ((r"<tool_call>(\\n|\s)*\{(?![{%])",), QWEN3),  # other families have the same delimiters around something else
)
"""Patterns that a chat template must all match, and the family then. The first match counts."""


def family_of(info: ModelInfo) -> Family:
    """Return the family of a model: the fallback where its template has no tool calls, or in a syntax unknown here."""
    return family_of_template(info.chat_template)


def family_of_template(template: str | None) -> Family:
    """Return the family of a model with this chat template, which is None where it has none."""
    text = template or ""
    matches = (family for patterns, family in _SYNTAXES if all(re.search(each, text) for each in patterns))
    return next(matches, FALLBACK)


def may_reason(family: Family, template: str | None) -> bool:
    """Return whether a chat template has the family's delimiter of reasoning."""
    return family.reasoning.begin in (template or "")

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
    template = info.chat_template or ""
    matches = (family for patterns, family in _SYNTAXES if all(re.search(each, template) for each in patterns))
    return next(matches, FALLBACK)

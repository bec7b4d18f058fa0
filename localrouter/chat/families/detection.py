"""To which family a model belongs, by what its own chat template says; names of models and architectures say less."""

import re

from localrouter.chat.families.family import Family
from localrouter.chat.families.gemma import GEMMA4
from localrouter.chat.families.prompted_tools import FALLBACK
from localrouter.chat.families.qwen import QWEN3, QWEN3_CODER
from localrouter.engine.model_info import ModelInfo

_SPELLINGS = (
    ((r"<function=", r"<parameter="), QWEN3_CODER),
    ((r"<\|tool_call>",), GEMMA4),
    ((r"<tool_call>(\\n|\s)*\{(?![{%])",), QWEN3),  # others write between these marks what is no JSON
)
"""What a template has to have, all of it, and the family that writes so. The first that fits counts."""
_TOOLS = re.compile(r"\btools\b")


def family_of(info: ModelInfo) -> Family:
    """Return the family of a model, the fallback for one whose template knows no tools or other ways to call them."""
    return _spelled(info.chat_template or "") or FALLBACK


def shows_tools(info: ModelInfo) -> bool:
    """Return whether the template tells the model what it can call. If not, the system message has to."""
    template = info.chat_template or ""
    return _spelled(template) is not None and _TOOLS.search(template) is not None


def thinks(info: ModelInfo) -> bool:
    """Return whether the template knows thoughts, as far as that can be told."""
    return family_of(info).thought.begin in (info.chat_template or "")


def can_switch_thinking(info: ModelInfo) -> bool:
    """Return whether the template can be told to let the model think or not."""
    return "enable_thinking" in (info.chat_template or "")


def _spelled(template: str) -> Family | None:
    """Return the family that writes calls as `template` does, if it is one of ours."""
    fits = (family for patterns, family in _SPELLINGS if all(re.search(each, template) for each in patterns))
    return next(fits, None)

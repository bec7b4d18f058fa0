"""Qwen: two syntaxes of tool calls between the same delimiters."""

from localrouter.chat.families.family import Delimiters, Family

REASONING = Delimiters("<think>", "</think>")
CALL = Delimiters("<tool_call>", "</tool_call>")

QWEN3 = Family("qwen3", REASONING, CALL, "json")
"""Qwen 2.5 and Qwen3, Hermes, and other models with the same syntax."""

QWEN3_CODER = Family("qwen3-coder", REASONING, CALL, "parameters")
"""Qwen3-Coder, Qwen3.5 and Qwen3.6."""

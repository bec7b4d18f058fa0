"""Qwen: two ways to spell a call between the same marks."""

from localrouter.chat.families.family import Family, Marks

THOUGHT = Marks("<think>", "</think>")
CALL = Marks("<tool_call>", "</tool_call>")

QWEN3 = Family("qwen3", THOUGHT, CALL, "json")
"""Qwen 2.5 and Qwen3, Hermes, and all others that took over this way."""

QWEN3_CODER = Family("qwen3-coder", THOUGHT, CALL, "parameters")
"""Qwen3-Coder, Qwen3.5 and Qwen3.6."""

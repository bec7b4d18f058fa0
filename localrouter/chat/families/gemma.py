"""Gemma 4; earlier ones have no way of their own to think or to call."""

from localrouter.chat.families.family import Family, Marks

GEMMA4 = Family(
    "gemma4", Marks("<|channel>", "<channel|>"), Marks("<|tool_call>", "<tool_call|>"), "gemma", thought_title="thought"
)

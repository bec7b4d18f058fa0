"""Gemma 4; earlier versions have no syntax of their own for reasoning or tool calls."""

from localrouter.chat.families.family import Delimiters, Family

GEMMA4 = Family(
    "gemma4",
    Delimiters("<|channel>", "<channel|>"),
    Delimiters("<|tool_call>", "<tool_call|>"),
    "gemma",
    reasoning_title="thought",
)

"""Generated conversations and their turns of one or more messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Message = dict[str, Any]
Tool = dict[str, Any]


@dataclass(frozen=True)
class Turn:
    """One or more messages, the last of them the assistant's, and the reasoning before that last one."""

    messages: tuple[Message, ...]
    thought: str

    @classmethod
    def of(cls, user: str, answer: str, thought: str) -> Turn:
        """Return the turn of one user message and its answer."""
        return cls(({"role": "user", "content": user}, {"role": "assistant", "content": answer}), thought)


@dataclass(frozen=True)
class Conversation:
    """A training example; `thinking` is what the template is asked: None (plain), True or False."""

    messages: list[Message]
    tools: list[Tool] = field(default_factory=list)
    thinking: bool | None = None

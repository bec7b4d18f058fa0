"""The demo model's own ChatML template, rendered here as the package and llama.cpp render it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from training.turn import Conversation, Message, Tool

PATH = Path(__file__).with_name("chat_template.jinja")


def _tojson(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@cache
def _template() -> Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = _tojson
    return environment.from_string(PATH.read_text())


def render(messages: list[Message], tools: list[Tool] | None = None, thinking: bool | None = None) -> str:
    """Return the prompt: everything up to where the assistant begins to write."""
    return _template().render(messages=messages, tools=tools, add_generation_prompt=True, enable_thinking=thinking)


def render_example(conversation: Conversation) -> str:
    """Return the whole conversation with the last answer in it, as the network learns it."""
    return _template().render(messages=conversation.messages, tools=conversation.tools, add_generation_prompt=False)

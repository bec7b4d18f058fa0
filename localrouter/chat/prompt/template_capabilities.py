"""The capabilities of a chat template, found by test renderings: conversations that it rejects, texts that it drops."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from localrouter.chat.prompt.template import ChatTemplate
from localrouter.errors import InvalidRequest

Messages = Sequence[Mapping[str, Any]]
BARE = {"type": "function", "function": {"name": "zeta"}}
"""A function without description and parameters, which OpenAI allows."""


@dataclass(frozen=True)
class TemplateCapabilities:
    """Capabilities of a chat template; a conversation is changed only where one is False."""

    developer: bool = True
    """A first message with role developer renders as one with role system."""
    names: bool = True
    """Names of participants are rendered."""
    system: bool = True
    """A system message is accepted as the first message."""
    later_system: bool = True
    """System messages are accepted anywhere, and several of them."""
    without_user: bool = True
    """A conversation without a user message is accepted."""
    assistant_first: bool = True
    """A conversation that begins with an assistant message is accepted."""
    repeated_role: bool = True
    """Two messages of one role in a row are accepted."""
    empty_answers: bool = True
    """An assistant message without text and calls is accepted."""
    bare_functions: bool = True
    """A function without parameters is accepted."""


@lru_cache(maxsize=32)
def capabilities_of(template: ChatTemplate) -> TemplateCapabilities:
    """Return the capabilities of a template. All are assumed where even the plainest conversation fails."""
    if not _shows(template, [_message("user", "alpha")]):
        return TemplateCapabilities()
    user, answer = _message("user", "alpha"), _message("assistant", "beta")
    system = _message("system", "gamma")
    return TemplateCapabilities(
        developer=_prompt(template, [_message("developer", "gamma"), user]) == _prompt(template, [system, user]),
        names=_shows(template, [user | {"name": "omega"}], "omega"),
        system=_shows(template, [system, user]),
        later_system=_shows(template, [system, _message("system", "delta"), user, answer, system, user]),
        without_user=_shows(template, [answer]) and _shows(template, [system]),
        assistant_first=_shows(template, [answer, user]),
        repeated_role=_shows(template, [user, _message("user", "delta"), answer, _message("assistant", "epsilon")]),
        empty_answers=_shows(template, [user, _message("assistant", ""), user]),
        bare_functions="tools" not in template.variables or _prompt(template, [user], tools=[BARE]) is not None,
    )


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


def _shows(template: ChatTemplate, messages: Messages, *others: str) -> bool:
    """Return whether the template accepts these messages and renders each of their texts, and each of `others`."""
    prompt = _prompt(template, messages)
    if prompt is None:
        return False
    texts = [str(message["content"]) for message in messages]
    return all(prompt.count(text) >= texts.count(text) for text in texts) and all(other in prompt for other in others)


def _prompt(template: ChatTemplate, messages: Messages, *, tools: Messages | None = None) -> str | None:
    try:
        return "".join(segment.text for segment in template.render(messages, tools=tools))
    except InvalidRequest:
        return None

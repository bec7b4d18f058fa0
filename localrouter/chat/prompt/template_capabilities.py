"""What a chat template takes, found out by asking it: which conversations it refuses, and what it leaves out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from localrouter.chat.prompt.template import ChatTemplate
from localrouter.errors import InvalidRequest

Messages = Sequence[Mapping[str, Any]]
BARE = {"type": "function", "function": {"name": "zeta"}}
"""A function as OpenAI lets it be: without a description, and without parameters."""


@dataclass(frozen=True)
class TemplateCapabilities:
    """What a template takes; a conversation is changed only where one of these is False."""

    developer: bool = True
    """In the first place that role is to it what `system` is."""
    names: bool = True
    """It shows who speaks."""
    system: bool = True
    """It takes a system message in the first place."""
    later_system: bool = True
    """It takes system messages anywhere, and several."""
    without_user: bool = True
    """It takes a conversation in which the user says nothing."""
    assistant_first: bool = True
    """It takes a conversation that the assistant begins."""
    repeated_role: bool = True
    """It takes two messages of one role in a row."""
    bare_functions: bool = True
    """It takes a function without parameters."""


@lru_cache(maxsize=32)
def capabilities_of(template: ChatTemplate) -> TemplateCapabilities:
    """Return what `template` takes. One that fails with the plainest conversation is not known to refuse any other."""
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
        bare_functions="tools" not in template.variables or _prompt(template, [user], tools=[BARE]) is not None,
    )


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


def _shows(template: ChatTemplate, messages: Messages, *others: str) -> bool:
    """Whether the template takes these messages and writes each of their texts as often as it stands there."""
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

"""System message that an alias adds to conversations without one."""

from collections.abc import Sequence

import msgspec

from localrouter.chat.prompt.chat_prompt import Prompt
from localrouter.chat.prompt.conversation import SYSTEM
from localrouter.chat.prompt.normalised_message import NormalisedMessage
from localrouter.chat.prompt.prompt_change import PromptChange
from localrouter.schema.alias_defaults import AliasDefaults
from localrouter.schema.chat_messages import Message

_WHY = "The request has no system message, so that of the alias was added."


def alias_system(messages: Sequence[Message], defaults: AliasDefaults) -> str | None:
    """Return the system message that the alias adds to these messages; None where it has none, or they have one."""
    return None if any(message.role in SYSTEM for message in messages) else defaults.system


def with_system(messages: list[NormalisedMessage], system: str | None) -> list[NormalisedMessage]:
    """Return the messages after the system message of the alias, if there is one."""
    return messages if system is None else [NormalisedMessage("system", system), *messages]


def with_system_step(prompt: Prompt, system: str | None) -> Prompt:
    """Return the prompt with the step of the alias's system message before the others, if there is one."""
    if system is None:
        return prompt
    return msgspec.structs.replace(prompt, steps=[PromptChange("alias_system", None, _WHY), *prompt.steps])

"""The messages of a request, normalised: one form where clients have several, and one result for each call.

Changes that depend on the model's chat template follow later, in `conversation`.
"""

import msgspec

from localrouter.chat.prompt.prompt_change import PromptChange


class Call(msgspec.Struct):
    """A tool call. `arguments` is the text that the model wrote, which may not be JSON."""

    id: str
    name: str
    arguments: str


class NormalisedMessage(msgspec.Struct):
    """One message of the conversation, or several that were joined."""

    role: str
    """system, developer, user, assistant or tool."""
    text: str
    index: int | None = None
    """Index of the (first) message in the request; None for a message that the request does not have."""
    speaker: str = ""
    """Name of the participant; "" without one."""
    reasoning: str = ""
    calls: list[Call] = []
    call: Call | None = None
    """The call that a message with role tool is the result of."""
    changes: list[PromptChange] = []
    """Changes by which the message differs from the request's."""

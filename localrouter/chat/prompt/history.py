"""From the messages of a request to normalised messages: one form where clients have several.

Changes that depend on the model's chat template follow later, in `conversation`.
"""

from collections.abc import Sequence

from localrouter.chat.prompt.normalised_message import Call, NormalisedMessage
from localrouter.chat.prompt.tool_results import PairedMessages
from localrouter.errors import InvalidRequest
from localrouter.schema.chat_messages import RESULT_ROLES, CalledFunction, Message


def normalised(messages: Sequence[Message]) -> list[NormalisedMessage]:
    """Return the messages of a request in their normalised form, with one result right after each call.

    Raises InvalidRequest where a result has no call before it that waits for it, and for two calls with one id.
    """
    paired = PairedMessages()
    for index, message in enumerate(messages):
        if message.role in RESULT_ROLES:
            paired.add_result(message, index)
        else:
            paired.add(_normalised(message, index), _ids(message, index))
    return paired.messages()


def _normalised(message: Message, index: int) -> NormalisedMessage:
    if message.function_call and message.tool_calls:
        raise _invalid(
            "'tool_calls' and 'function_call' are two forms of one thing; send one of them.",
            f"messages[{index}].function_call",
        )
    return NormalisedMessage(
        message.role,
        _text(message),
        index,
        speaker=message.name or "",
        reasoning=message.effective_reasoning,
        calls=_calls(message, index),
    )


def _text(message: Message) -> str:
    """Return the text of a message, the text of a refusal included."""
    if message.content is not None and message.refusal:
        return "\n\n".join(text for text in (message.text, message.refusal) if text)
    return message.text


def _calls(message: Message, index: int) -> list[Call]:
    """Return the calls of a message; ids that the client did not give are made of the places of message and call."""
    if message.function_call:
        return [_call(f"call_{index}", message.function_call)]
    return [
        _call(call.id or f"call_{index}_{place}", call.function) for place, call in enumerate(message.tool_calls or ())
    ]


def _call(identifier: str, called: CalledFunction) -> Call:
    return Call(identifier, called.name, called.arguments)


def _ids(message: Message, index: int) -> list[str | None]:
    """Return the client's id of each call. Raises InvalidRequest for two calls with one id."""
    ids = [call.id for call in message.tool_calls or ()]
    found: set[str] = set()
    for place, identifier in enumerate(ids):
        if identifier and identifier in found:
            raise _invalid(
                f"Two calls of this message have the id '{identifier}'.", f"messages[{index}].tool_calls[{place}].id"
            )
        found.add(identifier or "")
    return ids


def _invalid(message: str, param: str) -> InvalidRequest:
    return InvalidRequest(message, param=param, code="invalid_value")

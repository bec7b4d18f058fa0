"""The messages of a request, normalised: one form where OpenAI has several, and each tool result with its call.

Changes that depend on the model's chat template follow later, in `conversation`.
"""

from collections.abc import Sequence

import msgspec

from localrouter.errors import InvalidRequest
from localrouter.schema.chat_messages import CalledFunction, Message


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


def normalised(messages: Sequence[Message]) -> list[NormalisedMessage]:
    """Return the messages of a request in their normalised form, one for each.

    Raises InvalidRequest where a result has no call before it, and where a call of `tool_calls` has no result, or two:
    OpenAI requires a `tool` message for each call, right after the assistant message with the calls.
    """
    done: list[NormalisedMessage] = []
    pending: dict[str, Call] = {}
    caller = 0
    for index, message in enumerate(messages):
        if message.role == "tool":
            done.append(_result(message, index, pending))
            continue
        if pending:
            raise _unanswered(pending, caller)
        done.append(_normalised(message, index, done))
        pending = _by_id(done[-1].calls, index) if message.tool_calls else {}
        caller = index
    if pending:
        raise _unanswered(pending, caller)
    return done


def _normalised(message: Message, index: int, before: Sequence[NormalisedMessage]) -> NormalisedMessage:
    if message.role == "function":
        return NormalisedMessage("tool", message.text, index, call=_called_before(message, index, before))
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
        reasoning=message.reasoning_content or message.reasoning or "",
        calls=_calls(message, index),
    )


def _text(message: Message) -> str:
    """Return the text of a message, the text of a refusal included."""
    if message.content is not None and message.refusal:
        return "\n\n".join(text for text in (message.text, message.refusal) if text)
    return message.text


def _calls(message: Message, index: int) -> list[Call]:
    if message.function_call:
        return [_call(f"call_{index}", message.function_call)]
    return [_call(call.id, call.function) for call in message.tool_calls or ()]


def _call(identifier: str, called: CalledFunction) -> Call:
    return Call(identifier, called.name, called.arguments)


def _by_id(calls: Sequence[Call], index: int) -> dict[str, Call]:
    found: dict[str, Call] = {}
    for place, call in enumerate(calls):
        if call.id in found:
            raise _invalid(
                f"Two calls of this message have the id '{call.id}'.", f"messages[{index}].tool_calls[{place}].id"
            )
        found[call.id] = call
    return found


def _result(message: Message, index: int, pending: dict[str, Call]) -> NormalisedMessage:
    call = pending.pop(message.tool_call_id or "", None)
    if call is None:
        raise _invalid(
            f"No call of the assistant's message before this one waits for a result with the id "
            f"'{message.tool_call_id}'. A message with role 'tool' must answer a call of 'tool_calls', each once.",
            f"messages[{index}].tool_call_id",
        )
    return NormalisedMessage("tool", message.text, index, call=call)


def _called_before(message: Message, index: int, before: Sequence[NormalisedMessage]) -> Call:
    """Return the call that a message with the older role `function` has the result of, from the message before it."""
    for call in before[-1].calls if before else ():
        if call.name == message.name:
            return call
    raise _invalid(
        f"A message with role 'function' must answer a 'function_call' of '{message.name}' in the message before it.",
        f"messages[{index}].name",
    )


def _unanswered(pending: dict[str, Call], index: int) -> InvalidRequest:
    return _invalid(
        "An assistant message with 'tool_calls' must be followed by a message with role 'tool' for each of its calls. "
        f"There is none for: {', '.join(list(pending)[:10])}.",
        f"messages[{index}].tool_calls",
    )


def _invalid(message: str, param: str) -> InvalidRequest:
    return InvalidRequest(message, param=param, code="invalid_value")

"""Whether an output continues the last message: `continue_final_message`, or `prefix` or `partial` in the message."""

from collections.abc import Sequence

from localrouter.errors import InvalidRequest
from localrouter.schema.chat_messages import Message


def continues_last(messages: Sequence[Message], asked: bool | None) -> bool:
    """Return whether the output continues the last message; `asked` is the request's `continue_final_message`.

    Raises InvalidRequest where a message has `prefix` and cannot be continued, or the request says that it is not.
    """
    for index, message in enumerate(messages):
        name = message.continues
        if name and (problem := _problem(message, name, is_last=index == len(messages) - 1, asked=asked)):
            raise InvalidRequest(problem, param=f"messages[{index}].{name}", code="invalid_value")
    return bool(asked or messages[-1].continues)


def _problem(message: Message, name: str, *, is_last: bool, asked: bool | None) -> str:
    """Return the reason that a message with `prefix` is rejected; "" without one."""
    if not is_last or message.tool_calls or message.function_call:
        return f"'{name}': true needs a last message with role 'assistant' that calls nothing."
    if asked is False:
        return f"'{name}' and 'continue_final_message' are two names of one field, and their values differ."
    return ""

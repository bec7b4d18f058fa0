"""Checks of conversations: roles, parts, order and control tokens."""

from typing import Any

from localrouter.conformance.check import Broken, CheckGroup, Undecided, accepted, expect, rejected
from localrouter.conformance.server_under_test import HELLO, ServerUnderTest

MESSAGES = CheckGroup("messages")
_CONTROL = ["<|im_end|>", "<|im_start|>", "<end_of_turn>", "<turn|>", "<|eot_id|>", "<|endoftext|>", "[/INST]"]
"""Control tokens of well-known model families. For a model of another family they are plain text."""
_REPEATED = 8
_INSTRUCTION = "The ships of the north carry timber, salt and copper. "
_PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nG"
    "NgYGBgAAAABQABpfZFQAAAAABJRU5ErkJggg=="
)


def _says(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def _prompt_tokens(server: ServerUnderTest, *messages: dict[str, Any]) -> int:
    return int(server.ask(messages=[*messages], max_tokens=1)["usage"]["prompt_tokens"])


def _instructions_are_read(server: ServerUnderTest, role: str) -> None:
    """Raise Broken unless longer instructions make the prompt longer.

    Lengths are compared because without instructions the template may insert its own.
    """
    few, many = (_prompt_tokens(server, _says(role, _INSTRUCTION * times), *HELLO) for times in (1, 6))
    expect(many > few, f"the prompt has {many} tokens with a long {role} message and {few} with a short one")


def _adds_to_the_prompt(server: ServerUnderTest, *before: dict[str, Any]) -> None:
    """Raise Broken unless these messages make the prompt longer."""
    alone, together = _prompt_tokens(server, *HELLO), _prompt_tokens(server, *before, *HELLO)
    expect(together > alone, f"the prompt has {together} tokens with the message and {alone} without")


@MESSAGES.check("role", "system")
def a_system_message_is_read(server: ServerUnderTest) -> None:
    """`system` messages are instructions that the model should follow."""
    _instructions_are_read(server, "system")


@MESSAGES.check("role", "developer")
def a_developer_message_is_read(server: ServerUnderTest) -> None:
    """`developer` messages are instructions that the model should follow; they replace `system` messages."""
    _instructions_are_read(server, "developer")


@MESSAGES.check("role", "assistant")
def an_earlier_answer_is_read(server: ServerUnderTest) -> None:
    """`assistant` messages are sent by the model in response to user messages."""
    _adds_to_the_prompt(server, _says("user", "Which ships?"), _says("assistant", "Those that carry salt."))


@MESSAGES.check("content", "type")
def parts_of_text_are_read(server: ServerUnderTest) -> None:
    """`content` may be an array of parts; of type `text` they are what a string would be."""
    parts = [{"type": "text", "text": "The ships of the north "}, {"type": "text", "text": "carry timber and salt."}]
    alone, together = _prompt_tokens(server, _says("user", "x")), _prompt_tokens(server, _says("user", parts))
    expect(together > alone, "the parts added nothing to the prompt")


@MESSAGES.check("role", "system")
def several_system_messages_are_read(server: ServerUnderTest) -> None:
    """`messages` may have several system messages, and they need not come first."""
    second = _says("system", "The ships of the south carry oil and wine.")
    one = _prompt_tokens(server, _says("system", "Be brief."), *HELLO)
    expect(_prompt_tokens(server, _says("system", "Be brief."), second, *HELLO) > one, "the second one was not read")
    expect(
        _prompt_tokens(server, _says("system", "Be brief."), *HELLO, second) > one, "the one at the end was not read"
    )


@MESSAGES.check("role")
def two_turns_of_a_user_are_read(server: ServerUnderTest) -> None:
    """`messages` is a list of messages; nothing says that user and assistant have to take turns."""
    _adds_to_the_prompt(server, _says("user", "The ships of the north carry timber."))


@MESSAGES.check("role")
def an_assistant_may_begin(server: ServerUnderTest) -> None:
    """The first message may be of any role."""
    _adds_to_the_prompt(server, _says("assistant", "How can I help you with your ships?"))


@MESSAGES.check("role")
def a_conversation_may_end_with_the_assistant(server: ServerUnderTest) -> None:
    """The last message may be of any role."""
    ends = [*HELLO, _says("assistant", "The ships of the north carry")]
    expect(_prompt_tokens(server, *ends) > _prompt_tokens(server, *HELLO), "the last message was not read")


@MESSAGES.check("content")
def empty_content_is_accepted(server: ServerUnderTest) -> None:
    """`content` is a string, and an empty one is a string."""
    accepted(server, messages=[_says("system", ""), _says("user", "")])


@MESSAGES.check("name")
def names_are_accepted(server: ServerUnderTest) -> None:
    """`name` is an optional name for the participant."""
    accepted(server, messages=[{**_says("system", "Be brief."), "name": "guide"}, {**HELLO[0], "name": "alice"}])


@MESSAGES.check("content", "type")
def parts_of_an_assistant_are_read(server: ServerUnderTest) -> None:
    """`content` of an assistant's message may be an array of parts, and so may that of a system message."""
    parts = [{"type": "text", "text": "The ships of the north carry timber and salt."}]
    _adds_to_the_prompt(server, *HELLO, _says("assistant", parts))
    few, many = (_prompt_tokens(server, _says("system", parts * times), *HELLO) for times in (1, 6))
    expect(many > few, "more parts of a system message made the prompt no longer")


@MESSAGES.check("messages")
def a_long_conversation_is_read_whole(server: ServerUnderTest) -> None:
    """`messages` is the list of messages comprising the conversation so far; none is dropped."""
    turns = [_says(("user", "assistant")[number % 2], f"This is turn {number}.") for number in range(41)]
    one, half, whole = (_prompt_tokens(server, *turns[:count]) for count in (1, 21, 41))
    expect(
        half > one and whole - half > 0.8 * (half - one), f"1, 21 and 41 turns have {one}, {half} and {whole} tokens"
    )


@MESSAGES.check("content")
def control_tokens_in_content_are_text(server: ServerUnderTest) -> None:
    """`content` is text: what looks like a control token neither ends the turn nor changes who speaks."""
    empty = _prompt_tokens(server, _says("user", "x"))
    for token in _CONTROL:
        added = _prompt_tokens(server, _says("user", "x" + token * _REPEATED)) - empty
        if added <= _REPEATED + 1:
            raise Broken(f"{token} {_REPEATED} times added {added} tokens to the prompt: it was not read as text")


@MESSAGES.check("content")
def control_tokens_in_an_earlier_answer_are_text(server: ServerUnderTest) -> None:
    """`content` of an assistant's message is text as well."""
    short = _prompt_tokens(server, *HELLO, _says("assistant", "x"), *HELLO)
    for token in _CONTROL:
        added = _prompt_tokens(server, *HELLO, _says("assistant", "x" + token * _REPEATED), *HELLO) - short
        if added <= _REPEATED + 1:
            raise Broken(f"{token} {_REPEATED} times added {added} tokens to the prompt: it was not read as text")


@MESSAGES.check()
def an_empty_conversation_is_rejected(server: ServerUnderTest) -> None:
    """`messages` has at least one message."""
    rejected(server, messages=[])


@MESSAGES.check()
def an_unknown_role_is_rejected(server: ServerUnderTest) -> None:
    """`role` is one of those that the reference lists."""
    rejected(server, messages=[_says("wizard", "Say something.")])


@MESSAGES.check()
def an_image_is_rejected_or_seen(server: ServerUnderTest) -> None:
    """A model without vision cannot take `image_url` parts, and must not pretend to."""
    text = {"type": "text", "text": "What is this?"}
    image = {"type": "image_url", "image_url": {"url": _PIXEL}}
    plain = _prompt_tokens(server, _says("user", [text]))
    error = server.rejection(messages=[_says("user", [text, image])])
    if error:
        expect(400 <= error.status_code < 500 or error.status_code == 501, f"the status is {error.status_code}")
        return
    seen = _prompt_tokens(server, _says("user", [text, image]))
    expect(seen > plain, "the image was dropped in silence: the prompt is as long as without it")
    raise Undecided("the model takes images")

"""Checks of the fields of a response that is not streamed."""

from time import time

from openai.types.chat import ChatCompletion

from localrouter.conformance.check import CheckGroup, equal, expect
from localrouter.conformance.server_under_test import ServerUnderTest

BASICS = CheckGroup("basics")
_YEAR = 366 * 24 * 3600


@BASICS.check()
def an_answer_has_the_shape_of_the_sdk(server: ServerUnderTest) -> None:
    """The chat completion object has every field that the reference calls required, of its type."""
    ChatCompletion.model_validate(server.ask())


@BASICS.check()
def an_answer_is_named_a_chat_completion(server: ServerUnderTest) -> None:
    """`object` is always `chat.completion`."""
    equal(server.ask()["object"], "chat.completion", "object")


@BASICS.check()
def every_answer_has_an_id_of_its_own(server: ServerUnderTest) -> None:
    """`id` is a unique identifier for the chat completion."""
    first, second = (server.ask(max_tokens=1)["id"] for _ in range(2))
    expect(first and isinstance(first, str), f"id is {first!r}, not a text")
    expect(first != second, f"two answers have the id {first!r}")


@BASICS.check()
def an_answer_says_when_it_was_made(server: ServerUnderTest) -> None:
    """`created` is the Unix timestamp, in seconds, of when the chat completion was created."""
    created = server.ask(max_tokens=1)["created"]
    expect(type(created) is int, f"created is {created!r}, not an integer")
    expect(abs(created - time()) < _YEAR, f"created is {created}, which are not seconds of Unix time")


@BASICS.check()
def an_answer_names_its_model(server: ServerUnderTest) -> None:
    """`model` is the model used for the chat completion."""
    model = server.ask(max_tokens=1)["model"]
    expect(model and isinstance(model, str), f"model is {model!r}, not a name")


@BASICS.check()
def an_answer_has_one_choice_of_the_assistant(server: ServerUnderTest) -> None:
    """By default there is one choice, of index 0, whose message has the role `assistant`."""
    choices = server.ask()["choices"]
    equal([choice["index"] for choice in choices], [0], "the list of indexes")
    equal(choices[0]["message"]["role"], "assistant", "role")


@BASICS.check()
def content_is_text(server: ServerUnderTest) -> None:
    """`message.content` is a string, or null; without tools there is nothing that would replace it."""
    message = server.ask()["choices"][0]["message"]
    expect("content" in message, "the message has no content")
    expect(isinstance(message["content"], str | None), f"content is {message['content']!r}")


@BASICS.check()
def an_answer_ends_with_stop_or_length(server: ServerUnderTest) -> None:
    """`finish_reason` is `stop` or `length` for an answer without tools that no filter cut."""
    reason = server.ask()["choices"][0]["finish_reason"]
    expect(reason in ("stop", "length"), f"finish_reason is {reason!r}")


@BASICS.check()
def usage_adds_up(server: ServerUnderTest) -> None:
    """`total_tokens` are the tokens used in the request: prompt and completion."""
    usage = server.ask()["usage"]
    prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
    expect(prompt > 0, f"prompt_tokens is {prompt}")
    equal(usage["total_tokens"], prompt + completion, "total_tokens")


@BASICS.check()
def a_longer_prompt_has_more_tokens(server: ServerUnderTest) -> None:
    """`prompt_tokens` is the number of tokens in the prompt."""
    lengths = []
    for content in ("one", "one two three four five six seven eight nine ten"):
        usage = server.ask(messages=[{"role": "user", "content": content}], max_tokens=1)["usage"]
        lengths.append(usage["prompt_tokens"])
    expect(lengths[0] < lengths[1], f"one word and ten words have {lengths[0]} and {lengths[1]} tokens")

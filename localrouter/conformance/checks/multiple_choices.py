"""Checks of multiple choices (`n`) and of logprobs."""

from typing import Any

from localrouter.conformance.check import CheckGroup, Undecided, equal, expect, rejects, thrice
from localrouter.conformance.server_under_test import ServerUnderTest

N = CheckGroup("n")
LOGPROBS = CheckGroup("logprobs")
_ROUNDED = 1e-4
"""Tolerance between two values of the same log probability."""


@N.check("n")
def n_gives_that_many_choices(server: ServerUnderTest) -> None:
    """`n` is how many chat completion choices are generated for each input message."""
    choices = server.ask(n=2)["choices"]
    equal(sorted(choice["index"] for choice in choices), [0, 1], "the list of indexes")


@N.check("n")
def n_streams_that_many_choices(server: ServerUnderTest) -> None:
    """Streamed, each choice has its index, a role at its beginning and one finish reason."""
    stream = server.stream(n=2)
    for index in range(2):
        expect(stream.choices(index), f"no chunk is of choice {index}")
        equal(stream.choices(index)[0]["delta"].get("role"), "assistant", f"role of the first delta of {index}")
        expect(len(stream.finish_reasons(index)) == 1, f"finish reasons of {index}: {stream.finish_reasons(index)}")


@N.check("n")
@thrice
def usage_counts_all_choices_and_the_prompt_once(server: ServerUnderTest) -> None:
    """You are charged for the generated tokens across all of the choices."""
    one, two = server.ask(max_tokens=4)["usage"], server.ask(n=2, max_tokens=4)
    equal(two["usage"]["prompt_tokens"], one["prompt_tokens"], "prompt_tokens with n=2")
    if any(choice["finish_reason"] != "length" for choice in two["choices"]):
        raise Undecided("the model ended by itself")
    equal(two["usage"]["completion_tokens"], 8, "completion_tokens of two choices of 4 tokens")


@N.check("n", "stream_options")
@thrice
def usage_of_a_stream_counts_all_choices(server: ServerUnderTest) -> None:
    """The chunk with the usage has the statistics for the entire request, and comes once."""
    stream = server.stream(n=2, max_tokens=4, stream_options={"include_usage": True})
    usages = [chunk["usage"] for chunk in stream.chunks if chunk.get("usage")]
    equal(len(usages), 1, "the number of chunks with usage")
    reasons = stream.finish_reasons(0) + stream.finish_reasons(1)
    equal(len(reasons), 2, "the number of finish reasons")
    if reasons != ["length", "length"]:
        raise Undecided("the model ended by itself")
    equal(usages[0]["completion_tokens"], 8, "completion_tokens of two choices of 4 tokens")


@N.check("n")
def an_n_of_0_is_rejected(server: ServerUnderTest) -> None:
    """`n` is at least 1."""
    rejects(server, {"n": 2}, {"n": 0})


def _entries(server: ServerUnderTest, **fields: Any) -> tuple[str, list[dict[str, Any]]]:
    choice = server.ask(logprobs=True, temperature=0, **fields)["choices"][0]
    found = choice.get("logprobs")
    text = choice["message"]["content"] or ""
    if not text:
        raise Undecided("the answer has no content")
    expect(found and isinstance(found.get("content"), list), f"logprobs is {found!r}")
    return text, found["content"]


@LOGPROBS.check("logprobs")
def every_token_has_its_log_probability(server: ServerUnderTest) -> None:
    """`logprobs` returns the log probability of each output token in the content of the message."""
    _, entries = _entries(server)
    expect(entries, "no token has one")
    for entry in entries:
        expect({"token", "logprob", "bytes", "top_logprobs"} <= entry.keys(), f"a token has only {sorted(entry)}")
        expect(entry["logprob"] <= 1e-6, f"a log probability is {entry['logprob']}")


@LOGPROBS.check("logprobs")
def no_log_probabilities_come_unasked(server: ServerUnderTest) -> None:
    """`logprobs` is whether to return log probabilities or not; it is null where they were not asked for."""
    found = server.ask(logprobs=False)["choices"][0].get("logprobs")
    expect(found is None, f"logprobs is {found!r:.200}")


@LOGPROBS.check("logprobs")
def bytes_join_to_the_text(server: ServerUnderTest) -> None:
    """`content` lists the tokens of the message's content; their `bytes`, UTF-8, are combined for the text."""
    text, entries = _entries(server)
    joined = bytes(byte for entry in entries for byte in entry["bytes"] or []).decode("utf-8", "replace")
    expect(joined.strip("\ufffd \n") == text.strip("\ufffd \n"), f"the bytes are {joined!r}, the text is {text!r}")


@LOGPROBS.check("logprobs", "top_logprobs")
def top_logprobs_gives_that_many(server: ServerUnderTest) -> None:
    """`top_logprobs` is the maximum number of most likely tokens to return at each position; there may be fewer."""
    _, entries = _entries(server, top_logprobs=3)
    expect(any(entry["top_logprobs"] for entry in entries), "no alternatives were returned")
    for entry in entries:
        top = [each["logprob"] for each in entry["top_logprobs"]]
        expect(len(top) <= 3, f"{len(top)} alternatives were returned, not up to 3")
        expect(max(top, default=0) >= entry["logprob"] - _ROUNDED, "a token is likelier than the most likely one")


@LOGPROBS.check("logprobs")
@thrice
def a_stream_has_log_probabilities(server: ServerUnderTest) -> None:
    """The choices of chunks have `logprobs` too; together they are those of a plain answer."""
    text, entries = _entries(server, seed=7)
    stream = server.stream(logprobs=True, temperature=0, seed=7)
    if stream.text() != text:
        raise Undecided("a streamed and a plain answer at temperature 0 differ already")
    found = [choice["logprobs"] for choice in stream.choices() if choice.get("logprobs")]
    streamed = [entry["token"] for each in found for entry in each["content"] or []]
    equal(streamed, [entry["token"] for entry in entries], "the list of tokens with log probabilities")


@LOGPROBS.check("logprobs", "top_logprobs")
def top_logprobs_without_logprobs_is_rejected(server: ServerUnderTest) -> None:
    """`logprobs` must be set to true if `top_logprobs` is used."""
    rejects(server, {"logprobs": True, "top_logprobs": 2}, {"top_logprobs": 2})


@LOGPROBS.check("logprobs", "top_logprobs")
def top_logprobs_over_20_is_rejected(server: ServerUnderTest) -> None:
    """`top_logprobs` is an integer between 0 and 20."""
    rejects(server, {"logprobs": True, "top_logprobs": 5}, {"logprobs": True, "top_logprobs": 21})

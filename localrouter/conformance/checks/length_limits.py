"""Checks of limits of the output length."""

from localrouter.conformance.check import CheckGroup, Undecided, equal, expect, rejected, thrice
from localrouter.conformance.server_under_test import ServerUnderTest

LIMITS = CheckGroup("limits")


def _holds(server: ServerUnderTest, name: str) -> None:
    answer = server.ask(**{name: 3})
    used = answer["usage"]["completion_tokens"]
    expect(used <= 3, f"{used} tokens were generated")
    _ended_by_length(answer["choices"][0]["finish_reason"], used, 3)


def _ended_by_length(reason: str, used: int, limit: int) -> None:
    if reason == "stop" and used <= limit:
        raise Undecided("the model ended by itself")
    equal(reason, "length", "finish_reason")
    equal(used, limit, "completion_tokens of an answer that was cut")


@LIMITS.check("max_tokens")
@thrice
def max_tokens_holds(server: ServerUnderTest) -> None:
    """`max_tokens` is the maximum number of tokens that can be generated; `length` says that it was reached."""
    _holds(server, "max_tokens")


@LIMITS.check("max_completion_tokens")
@thrice
def max_completion_tokens_holds(server: ServerUnderTest) -> None:
    """`max_completion_tokens` is an upper bound for the tokens that can be generated; `length` says it was reached."""
    _holds(server, "max_completion_tokens")


@LIMITS.check("max_tokens", "stream_options")
@thrice
def a_stream_ends_at_max_tokens(server: ServerUnderTest) -> None:
    """`max_tokens` holds for streams too, and their `finish_reason` is `length`."""
    stream = server.stream(max_tokens=3, stream_options={"include_usage": True})
    used = stream.chunks[-1]["usage"]["completion_tokens"]
    expect(used <= 3, f"{used} tokens were generated")
    _ended_by_length(stream.finish_reasons()[0], used, 3)


@LIMITS.check("max_tokens", "max_completion_tokens")
def both_limits_together_are_rejected_or_both_hold(server: ServerUnderTest) -> None:
    """`max_tokens` is the deprecated name of `max_completion_tokens`: if both are taken, neither may be exceeded."""
    error = server.rejection(max_tokens=4, max_completion_tokens=2)
    if error:
        expect(400 <= error.status_code < 500, f"it was answered with status {error.status_code}, not rejected")
        return
    used = server.ask(max_tokens=4, max_completion_tokens=2)["usage"]["completion_tokens"]
    expect(used <= 2, f"{used} tokens were generated with limits of 4 and 2")


@LIMITS.check("max_tokens")
def a_negative_limit_is_rejected(server: ServerUnderTest) -> None:
    """A number of tokens is not negative."""
    rejected(server, max_tokens=-5)

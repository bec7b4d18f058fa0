"""Checks of stop sequences."""

from localrouter.conformance.check import CheckGroup, Undecided, equal, expect, rejects, thrice
from localrouter.conformance.server_under_test import ServerUnderTest

STOP = CheckGroup("stop")
_GREEDY = {"temperature": 0, "seed": 7}
_GOOD = range(1, 12)
"""Positions in a text from which a stop sequence is taken, in characters."""


def _text_and_stop(server: ServerUnderTest) -> tuple[str, str]:
    """Return the model's output, and two characters of it that are not at its beginning."""
    text = server.text(**_GREEDY)
    if text != server.text(**_GREEDY):
        raise Undecided("two answers at temperature 0 differ already")
    for start in _GOOD:
        piece = text[start : start + 2]
        if len(piece) == 2 and not any(char.isspace() or char == "\ufffd" for char in piece):
            return text, piece
    raise Undecided(f"nothing in {text!r} is of use as a stop sequence")


@STOP.check("stop")
@thrice
def a_stop_text_ends_the_answer(server: ServerUnderTest) -> None:
    """`stop` is a sequence where the API stops generating further tokens; `finish_reason` is then `stop`."""
    text, stop = _text_and_stop(server)
    choice = server.ask(**_GREEDY, stop=stop)["choices"][0]
    equal(choice["message"]["content"], text[: text.index(stop)], f"the text before {stop!r}")
    equal(choice["finish_reason"], "stop", "finish_reason")


@STOP.check("stop")
@thrice
def a_list_of_stops_ends_the_answer(server: ServerUnderTest) -> None:
    """`stop` may be up to 4 sequences; whichever comes first ends the answer."""
    text, stop = _text_and_stop(server)
    found = server.text(**_GREEDY, stop=["\u2603\u2603", stop, "\u2604\u2604"])
    equal(found, text[: text.index(stop)], f"the text before {stop!r}")


@STOP.check("stop")
@thrice
def a_stop_text_is_not_in_the_answer(server: ServerUnderTest) -> None:
    """The returned text will not contain the stop sequence."""
    _, stop = _text_and_stop(server)
    found = server.text(**_GREEDY, stop=stop)
    expect(stop not in found, f"{stop!r} is in {found!r}")


@STOP.check("stop")
@thrice
def a_stop_text_is_not_in_the_stream(server: ServerUnderTest) -> None:
    """The returned text will not contain the stop sequence, in no delta; all before it is there."""
    text, stop = _text_and_stop(server)
    stream = server.stream(**_GREEDY, stop=stop)
    equal(stream.text(), text[: text.index(stop)], f"the streamed text before {stop!r}")
    equal(stream.finish_reasons(), ["stop"], "the list of finish reasons")


@STOP.check("stop")
@thrice
def a_stop_text_may_be_of_several_tokens(server: ServerUnderTest) -> None:
    """`stop` is a sequence of text; how the model cuts its text into tokens is no part of it."""
    text, _ = _text_and_stop(server)
    stop = text[3:-2]
    if len(stop) < 8 or "\ufffd" in stop:
        raise Undecided(f"{text!r} has no long stretch of whole characters")
    choice = server.ask(**_GREEDY, stop=stop)["choices"][0]
    equal(choice["message"]["content"], text[: text.index(stop)], f"the text before {stop!r}")
    stream = server.stream(**_GREEDY, stop=stop)
    equal(stream.text(), text[: text.index(stop)], f"the streamed text before {stop!r}")


@STOP.check("stop")
@thrice
def what_only_begins_like_a_stop_text_is_said(server: ServerUnderTest) -> None:
    """The text stops at the stop sequence; a beginning of it that goes on otherwise is text."""
    text, stop = _text_and_stop(server)
    stream = server.stream(**_GREEDY, stop=stop + "\u2603")
    equal(stream.text(), text, f"the streamed text, in which {stop!r} goes on otherwise")


@STOP.check("stop")
@thrice
def four_stops_are_taken(server: ServerUnderTest) -> None:
    """`stop` may be up to 4 sequences."""
    text, stop = _text_and_stop(server)
    found = server.text(**_GREEDY, stop=["\u2601\u2601", "\u2602\u2602", "\u2603\u2603", stop])
    equal(found, text[: text.index(stop)], f"the text before {stop!r}")


@STOP.check("stop")
def five_stops_are_rejected(server: ServerUnderTest) -> None:
    """`stop` may be up to 4 sequences."""
    rejects(server, {"stop": ["@1", "@2", "@3", "@4"]}, {"stop": ["@1", "@2", "@3", "@4", "@5"]})

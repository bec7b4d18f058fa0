"""Checks of temperature, top_p, seed, penalties and logit bias."""

from operator import eq
from typing import Any

from localrouter.conformance.check import CheckGroup, Undecided, accepted, equal, expect, rejects, thrice
from localrouter.conformance.server_under_test import ServerUnderTest

SAMPLING = CheckGroup("sampling")
PENALTIES = CheckGroup("penalties")
LOGIT_BIAS = CheckGroup("logit_bias")
_IDS = ("65", "300", "900", "1500", "2000")
"""Token ids that nearly every vocabulary has; in some, a few are control tokens or incomplete characters."""
_MOST = 100
"""The largest bias."""


@SAMPLING.check("temperature")
def a_temperature_over_2_is_rejected(server: ServerUnderTest) -> None:
    """`temperature` is between 0 and 2."""
    rejects(server, {"temperature": 2}, {"temperature": 2.5})


@SAMPLING.check("temperature")
def a_negative_temperature_is_rejected(server: ServerUnderTest) -> None:
    """`temperature` is between 0 and 2."""
    rejects(server, {"temperature": 0}, {"temperature": -0.5})


@SAMPLING.check("top_p")
def a_top_p_over_1_is_rejected(server: ServerUnderTest) -> None:
    """`top_p` is between 0 and 1."""
    rejects(server, {"top_p": 0.5}, {"top_p": 1.5})


@SAMPLING.check("top_p")
def a_negative_top_p_is_rejected(server: ServerUnderTest) -> None:
    """`top_p` is between 0 and 1."""
    rejects(server, {"top_p": 0.5}, {"top_p": -0.5})


@SAMPLING.check("temperature")
@thrice
def temperature_0_repeats_itself(server: ServerUnderTest) -> None:
    """Lower temperatures make the output more deterministic; 0 takes the most likely token."""
    first, second = (server.text(temperature=0) for _ in range(2))
    equal(second, first, "the second answer")


@SAMPLING.check("top_p")
@thrice
def a_tiny_top_p_repeats_itself(server: ServerUnderTest) -> None:
    """With `top_p` only the tokens of the top probability mass are considered; of almost none, that is one."""
    first, second = (server.text(temperature=1, top_p=1e-6) for _ in range(2))
    equal(second, first, "the second answer")


@SAMPLING.check("seed")
@thrice
def a_seed_repeats_itself(server: ServerUnderTest) -> None:
    """Repeated requests with the same `seed` and parameters should return the same result, on the same backend."""
    first, second = (server.ask(temperature=1, seed=1234) for _ in range(2))
    if first.get("system_fingerprint") != second.get("system_fingerprint"):
        raise Undecided("the backend changed between two requests")
    texts = [answer["choices"][0]["message"]["content"] for answer in (first, second)]
    equal(texts[1], texts[0], "the second answer")


@SAMPLING.check("seed")
def a_seed_repeats_itself_beside_others(server: ServerUnderTest) -> None:
    """The same `seed` and parameters should return the same result; other requests are none of them.

    Determinism is not guaranteed, and rounding differs where several requests are computed together. So answers are
    short, and one of six seeds is enough; a source of chance that requests share shows in all of them.
    """
    fields: list[dict[str, Any]] = [{"temperature": 1, "seed": seed, "max_tokens": 3} for seed in range(1, 7)]
    alone = [server.text(**each) for each in fields]
    if alone != [server.text(**each) for each in fields]:
        raise Undecided("two answers with the same seed differ already")
    with server.busy(3):
        beside = [server.text(**each) for each in fields]
    expect(any(map(eq, alone, beside)), f"while others ran, {beside[0]!r} was said, and not {alone[0]!r}")


@PENALTIES.check("presence_penalty")
def a_presence_penalty_over_2_is_rejected(server: ServerUnderTest) -> None:
    """`presence_penalty` is between -2.0 and 2.0."""
    rejects(server, {"presence_penalty": 2.0}, {"presence_penalty": 2.5})


@PENALTIES.check("frequency_penalty")
def a_frequency_penalty_under_minus_2_is_rejected(server: ServerUnderTest) -> None:
    """`frequency_penalty` is between -2.0 and 2.0."""
    rejects(server, {"frequency_penalty": -2.0}, {"frequency_penalty": -2.5})


@PENALTIES.check("presence_penalty", "frequency_penalty")
def negative_penalties_are_taken(server: ServerUnderTest) -> None:
    """Penalties are between -2.0 and 2.0."""
    accepted(server, presence_penalty=-2, frequency_penalty=-1.5)


@PENALTIES.check("frequency_penalty", "logit_bias")
def a_frequency_penalty_grows_with_each_use(server: ServerUnderTest) -> None:
    """Positive values penalize new tokens based on their existing frequency in the text so far."""
    (first, one), (second, other) = _speaking(server, 2)
    # The second token is 20 behind. After so many uses of the first, at 2 each, it has to be said.
    asked: dict[str, Any] = {"logit_bias": {first: _MOST, second: _MOST - 20}, "temperature": 0, "max_tokens": 32}
    if other in server.text(**asked):
        raise Undecided(f"the model says {other!r} without a penalty too")
    expect(other in server.text(**asked, frequency_penalty=2), f"only {one!r} was said, whatever the penalty")


def _forced(server: ServerUnderTest, number: str) -> str:
    """Return what one token says, from an answer that can only repeat it."""
    return "".join(server.text(logit_bias={number: _MOST}, max_tokens=1, temperature=0).split())


def _speaking(server: ServerUnderTest, count: int) -> list[tuple[str, str]]:
    """Return ids of tokens that have something to say, all of it different, and what."""
    found: dict[str, str] = {}
    for number in _IDS:
        text = _forced(server, number)
        if text.isascii() and text.isprintable() and text and not any(text in each or each in text for each in found):
            found[text] = number
        if len(found) == count:
            return [(number, text) for text, number in found.items()]
    raise Undecided(f"none of the tokens {', '.join(_IDS)} could be made to say anything of use")


@LOGIT_BIAS.check("logit_bias")
def a_bias_of_100_forces_a_token(server: ServerUnderTest) -> None:
    """A bias of 100 should result in exclusive selection of the token."""
    texts = [_forced(server, number) for number in _IDS]
    if not any(texts):
        raise Undecided("none of the tokens says anything")
    expect(len(set(texts)) > 1, f"whichever token was forced, {texts[0]!r} was said")
    [(number, piece)] = _speaking(server, 1)
    repeated = server.text(logit_bias={number: _MOST}, max_tokens=4, temperature=1)
    equal("".join(repeated.split()), piece * 4, f"the answer of a token that says {piece!r}")


@LOGIT_BIAS.check("logit_bias")
def a_bias_of_minus_100_bans_a_token(server: ServerUnderTest) -> None:
    """A bias of -100 should result in a ban of the token."""
    (number, piece), _ = _speaking(server, 2)  # two that differ: so biases do something here
    text = "".join(server.text(logit_bias={number: -_MOST}, max_tokens=8, temperature=0).split())
    expect(not text.startswith(piece * 2), f"the banned {piece!r} was said")


@LOGIT_BIAS.check("logit_bias")
def a_bias_over_100_is_rejected(server: ServerUnderTest) -> None:
    """A bias is a value from -100 to 100."""
    rejects(server, {"logit_bias": {_IDS[0]: 1}}, {"logit_bias": {_IDS[0]: 101}})


@LOGIT_BIAS.check("logit_bias")
def a_bias_for_an_unknown_token_is_rejected(server: ServerUnderTest) -> None:
    """`logit_bias` maps tokens, by their id in the tokenizer; an id that does not exist must be rejected."""
    rejects(server, {"logit_bias": {_IDS[0]: 1}}, {"logit_bias": {"99999999": 1}})

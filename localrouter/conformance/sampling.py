"""Temperature, nucleus, seed, penalties and biases."""

from localrouter.conformance.check import Group, NotTestable, equal, expect, refuses
from localrouter.conformance.server import Server

SAMPLING = Group("sampling")
PENALTIES = Group("penalties")
LOGIT_BIAS = Group("logit_bias")
_ANY_ID = "65"
"""An id that every vocabulary has. What it stands for does not matter."""


@SAMPLING.check("temperature")
def a_temperature_over_2_is_refused(server: Server) -> None:
    """`temperature` is between 0 and 2."""
    refuses(server, {"temperature": 2}, {"temperature": 2.5})


@SAMPLING.check("temperature")
def a_negative_temperature_is_refused(server: Server) -> None:
    """`temperature` is between 0 and 2."""
    refuses(server, {"temperature": 0}, {"temperature": -0.5})


@SAMPLING.check("top_p")
def a_top_p_over_1_is_refused(server: Server) -> None:
    """`top_p` is between 0 and 1."""
    refuses(server, {"top_p": 0.5}, {"top_p": 1.5})


@SAMPLING.check("top_p")
def a_negative_top_p_is_refused(server: Server) -> None:
    """`top_p` is between 0 and 1."""
    refuses(server, {"top_p": 0.5}, {"top_p": -0.5})


@SAMPLING.check("temperature")
def temperature_0_repeats_itself(server: Server) -> None:
    """Lower temperatures make the output more deterministic; 0 takes the most likely token."""
    first, second = (server.text(temperature=0) for _ in range(2))
    equal(second, first, "the second answer")


@SAMPLING.check("top_p")
def a_tiny_top_p_repeats_itself(server: Server) -> None:
    """With `top_p` only the tokens of the top probability mass are considered; of almost none, that is one."""
    first, second = (server.text(temperature=1, top_p=1e-6) for _ in range(2))
    equal(second, first, "the second answer")


@SAMPLING.check("seed")
def a_seed_repeats_itself(server: Server) -> None:
    """Repeated requests with the same `seed` and parameters should return the same result, on the same backend."""
    first, second = (server.ask(temperature=1, seed=1234) for _ in range(2))
    if first.get("system_fingerprint") != second.get("system_fingerprint"):
        raise NotTestable("the backend changed between two requests")
    texts = [answer["choices"][0]["message"]["content"] for answer in (first, second)]
    equal(texts[1], texts[0], "the second answer")


@PENALTIES.check("presence_penalty")
def a_presence_penalty_over_2_is_refused(server: Server) -> None:
    """`presence_penalty` is between -2.0 and 2.0."""
    refuses(server, {"presence_penalty": 2.0}, {"presence_penalty": 2.5})


@PENALTIES.check("frequency_penalty")
def a_frequency_penalty_under_minus_2_is_refused(server: Server) -> None:
    """`frequency_penalty` is between -2.0 and 2.0."""
    refuses(server, {"frequency_penalty": -2.0}, {"frequency_penalty": -2.5})


def _forced(server: Server) -> str:
    """Return what one token says, from an answer that can only repeat it."""
    return server.text(logit_bias={_ANY_ID: 100}, max_tokens=1, temperature=0)


@LOGIT_BIAS.check("logit_bias")
def a_bias_of_100_forces_a_token(server: Server) -> None:
    """A bias of 100 should result in exclusive selection of the token."""
    piece = _forced(server)
    repeated = server.text(logit_bias={_ANY_ID: 100}, max_tokens=4, temperature=1)
    expect(piece, "nothing was said")
    equal(repeated, piece * 4, f"the answer of a token that says {piece!r}")


@LOGIT_BIAS.check("logit_bias")
def a_bias_of_minus_100_bans_a_token(server: Server) -> None:
    """A bias of -100 should result in a ban of the token."""
    piece = _forced(server)
    if not piece:
        raise NotTestable("the token says nothing")
    said = server.ask(logit_bias={_ANY_ID: -100}, max_tokens=8, temperature=0)
    text = said["choices"][0]["message"]["content"] or ""
    expect(text != piece * 8 and not text.startswith(piece * 2), f"the banned {piece!r} was said")


@LOGIT_BIAS.check("logit_bias")
def a_bias_over_100_is_refused(server: Server) -> None:
    """A bias is a value from -100 to 100."""
    refuses(server, {"logit_bias": {_ANY_ID: 1}}, {"logit_bias": {_ANY_ID: 101}})


@LOGIT_BIAS.check("logit_bias")
def a_bias_for_an_unknown_token_is_refused(server: Server) -> None:
    """`logit_bias` maps tokens, by their id in the tokenizer; an id that is none cannot be honoured."""
    refuses(server, {"logit_bias": {_ANY_ID: 1}}, {"logit_bias": {"99999999": 1}})

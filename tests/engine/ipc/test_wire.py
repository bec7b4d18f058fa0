"""Wire: messages survive it however the bytes arrive, and other bytes are an error."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrouter.engine.generation_request import GenerationRequest, Grammar, Sampling, Segment, Thinking, ToolCalls
from localrouter.engine.ipc import wire
from localrouter.engine.messages import (
    Accepted,
    Cancel,
    Command,
    Detokenize,
    Finished,
    Gauge,
    Generate,
    Load,
    LoadFailed,
    Logprob,
    Piece,
    Report,
    Step,
    Stop,
    Tokenize,
    Tokens,
    TokenUsage,
)
from localrouter.load_options import LoadOptions

COMMANDS: list[Command] = [
    Load("x.gguf", "llama", LoadOptions(gpu_layers="all")),
    Generate(
        1,
        GenerationRequest(
            [Segment("<|im_start|>", True), Segment("é", False)],
            Sampling(0.5, 0.9, -3, 5, 0.1, 0.2, 0.3, 1.1, {3: -100.0}, 20, ("a", "é")),
            None,
        ),
    ),
    Generate(
        2,
        GenerationRequest(
            [], Sampling(), 3, Grammar('start: "a"'), Thinking("<think>", "</think>", True, 7), ("<|call|>",)
        ),
    ),
    Generate(3, GenerationRequest([], calls=ToolCalls("<call>", "</call>", ('"', '"'), "\\"), structured=True)),
    Tokenize(3, [Segment("a", False)], False),
    Detokenize(4, [1, 2]),
    Cancel(1),
    Stop(),
]


@given(st.lists(st.sampled_from(COMMANDS)), st.lists(st.integers(1, 40)))
def test_commands_arrive_as_they_were_sent_however_the_bytes_are_cut(sent: list[Command], sizes: list[int]) -> None:
    data = b"".join(map(wire.frame, sent))
    incoming, received = wire.commands(), []
    for size in [*sizes, len(data)]:
        received += incoming.feed(data[:size])
        data = data[size:]

    assert received == sent


def test_reports_arrive_as_they_were_sent() -> None:
    usage = TokenUsage(3, 4, 0, 2)
    reports: list[Report] = [
        LoadFailed("why"),
        Tokens(3, [1, 2], [b"a", b"\xe2"]),
        Step([Accepted(1, 3), Piece(1, "héllo"), Finished(1, "error", usage, "code", "why")], Gauge(1, 2, 3)),
        Step([Piece(1, "<think>", kind="reasoning", edge="begin"), Piece(1, "{", kind="tool_call")], Gauge()),
        Step([Piece(1, "€", (Logprob(b"\xe2", -1.5, ((b"\xe2", -1.5), (b"", -math.inf))),))], Gauge()),
    ]

    assert wire.reports().feed(b"".join(map(wire.frame, reports))) == reports


@pytest.mark.parametrize("field", [b"logprobs", b"kind", b"edge"])
def test_a_piece_of_plain_text_mentions_nothing_else(field: bytes) -> None:
    assert field not in wire.frame(Step([Piece(1, "a")], Gauge()))


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x00\x00\x00\x01\xc1", b"\x00\x00\x00\x01\x90"])
def test_bytes_that_are_no_frame_are_an_error(data: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.reports().feed(data)


def test_a_message_that_is_too_large_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_FRAME", 20)

    assert wire.frame(Cancel(1))
    with pytest.raises(wire.WireError, match="too large"):
        wire.frame(Tokenize(1, [Segment("x" * 20, False)]))

"""Completion streams: chunks are OpenAI's, and the plain answer is their fold."""

import asyncio
import math

import msgspec
import pytest
from fake_engine import FakeEngine, FakeGeneration, HereRenderer, generation, text_of
from hypothesis import given
from hypothesis import strategies as st

from localrouter.chat.response.chat_completion import Completion
from localrouter.chat.response.fold import fold
from localrouter.engine.generation_request import Sampling
from localrouter.engine.messages import Event, Finished, FinishReason, Logprob, Piece, TokenUsage
from localrouter.errors import ContextLengthExceeded, EngineFailed, InvalidRequest
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.chat_response import (
    ChatCompletionChunk,
    ChatCompletionResponse,
    CompletionTokensDetails,
    PromptTokensDetails,
)
from localrouter.schema.chat_response import Usage as Shown

COUNTED = Shown(3, 2, 5, PromptTokensDetails(0), CompletionTokensDetails(0))


def request(**fields: object) -> ChatRequest:
    return ChatRequest.model_validate({"model": "fake", "messages": [{"role": "user", "content": "Hi"}]} | fields)


async def chunks_of(generation: FakeGeneration, **fields: object) -> list[ChatCompletionChunk]:
    completion = await Completion.begin(FakeEngine(generation), request(**fields), HereRenderer())
    return [chunk async for chunks in completion.chunks() for chunk in chunks]


async def test_a_stream_is_role_then_text_then_one_finish_reason() -> None:
    chunks = await chunks_of(generation("Hel", "lo"), stream=True)

    assert [msgspec.to_builtins(chunk.choices[0].delta) for chunk in chunks] == [
        {"role": "assistant", "content": ""},
        {"content": "Hel"},
        {"content": "lo"},
        {},
    ]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, None, "stop"]
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1


async def test_text_that_waited_for_a_slow_reader_is_one_chunk() -> None:
    waited = FakeGeneration([[Piece(1, "Hel"), Piece(1, "lo")], [Piece(1, "!"), Finished(1, "stop", TokenUsage(3, 3))]])

    chunks = await chunks_of(waited, stream=True)

    assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "Hello", "!", None]


async def test_usage_is_left_out_of_a_stream_that_did_not_ask_for_it() -> None:
    chunks = await chunks_of(generation("Hi"), stream=True)

    assert all("usage" not in msgspec.to_builtins(chunk) for chunk in chunks)


async def test_usage_comes_last_and_alone_and_is_null_before() -> None:
    chunks = await chunks_of(generation("Hi"), stream=True, stream_options={"include_usage": True})

    assert [chunk.usage for chunk in chunks[:-1]] == [None] * 3
    assert (chunks[-1].choices, chunks[-1].usage) == (
        [],
        COUNTED,
    )


@pytest.mark.parametrize("reason", ["stop", "length"])
async def test_the_plain_answer_is_the_fold_of_the_stream(reason: FinishReason) -> None:
    completion = await Completion.begin(FakeEngine(generation("Hel", "lo", reason=reason)), request(), HereRenderer())

    answer = await fold(completion.chunks())

    assert answer.choices[0].message.content == "Hello"
    assert answer.choices[0].finish_reason == reason
    assert answer.usage == COUNTED
    assert answer.model == "Fake-1B-Q8_0"
    assert answer.id.startswith("chatcmpl-")


@given(
    text=st.text(),
    places=st.lists(st.integers(0, 50)).map(sorted),
    together=st.lists(st.integers(1, 5), min_size=1),
)
def test_however_an_answer_is_cut_stream_and_plain_answer_say_the_same(
    text: str, places: list[int], together: list[int]
) -> None:
    pieces = [text[start:stop] for start, stop in zip([0, *places], [*places, len(text)], strict=True)]
    events: list[Event] = [Piece(1, piece, (Logprob(piece.encode(), -1.0),)) for piece in pieces if piece]
    events.append(Finished(1, "stop", TokenUsage(3, 2)))
    looks = []
    while events:
        looks += [events[: together[0]]]
        events, together = events[together[0] :], [*together[1:], together[0]]

    async def both() -> tuple[list[ChatCompletionChunk], ChatCompletionResponse]:
        completion = await Completion.begin(FakeEngine(FakeGeneration(looks)), request(logprobs=True), HereRenderer())
        plain = await fold(completion.chunks())
        return await chunks_of(FakeGeneration(looks), stream=True, logprobs=True), plain

    chunks, plain = asyncio.run(both())

    told = [chunk.choices[0].logprobs for chunk in chunks]
    assert plain.choices[0].logprobs is not None
    assert [token for some in told if some for token in some.content] == plain.choices[0].logprobs.content
    assert "".join(token.token for token in plain.choices[0].logprobs.content) == text
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == plain.choices[0].message.content == text
    assert [chunk.choices[0].finish_reason for chunk in chunks].count("stop") == 1


async def test_an_engine_that_fails_in_mid_stream_raises_its_words() -> None:
    completion = await Completion.begin(FakeEngine(generation("Hel", reason="error")), request(), HereRenderer())

    with pytest.raises(EngineFailed, match="why") as caught:
        await fold(completion.chunks())
    assert caught.value.reason == "code"


async def test_a_refused_prompt_is_refused_before_the_first_chunk_and_freed() -> None:
    refused = FakeGeneration([], ContextLengthExceeded(200, 100))

    with pytest.raises(ContextLengthExceeded):
        await Completion.begin(FakeEngine(refused), request(), HereRenderer())
    assert refused.cancelled == 1


async def test_defaults_are_openais() -> None:
    engine = FakeEngine(generation())

    await Completion.begin(engine, request(), HereRenderer())

    [asked] = engine.asked
    assert (asked.sampling, asked.max_tokens) == (Sampling(temperature=1.0, top_p=1.0, seed=None), None)
    assert (asked.grammar, asked.thinking) == (None, None)


async def test_every_sampling_field_reaches_the_engine() -> None:
    engine = FakeEngine(generation())

    await Completion.begin(
        engine,
        request(
            temperature=0,
            top_p=0.5,
            seed=7,
            top_k=3,
            min_p=0.25,
            presence_penalty=-1,
            frequency_penalty=1.5,
            repeat_penalty=1.25,
            logit_bias={"9": -100},
            logprobs=True,
            top_logprobs=4,
            stop=["a", "b"],
            max_completion_tokens=9,
        ),
        HereRenderer(),
    )

    [asked] = engine.asked
    assert asked.sampling == Sampling(0, 0.5, 7, 3, 0.25, -1, 1.5, 1.25, {9: -100}, 4, ("a", "b"))
    assert asked.max_tokens == 9


@pytest.mark.parametrize(
    ("fields", "sampling"),
    [
        ({"stop": "ab"}, Sampling(stop=("ab",))),
        ({"logprobs": True}, Sampling(logprobs=0)),
        ({"logprobs": False, "top_logprobs": 0, "stop": [], "logit_bias": {}, "top_k": None}, Sampling()),
    ],
    ids=["one stop string", "no likeliest tokens", "nothing asked for"],
)
async def test_fields_have_short_forms(fields: dict[str, object], sampling: Sampling) -> None:
    engine = FakeEngine(generation())

    await Completion.begin(engine, request(**fields), HereRenderer())

    assert engine.asked[0].sampling == sampling


async def test_a_bias_on_a_token_that_the_vocabulary_has_not_is_refused() -> None:
    engine = FakeEngine(generation())

    with pytest.raises(InvalidRequest, match=r"token 10 .* 0 to 9") as caught:
        await Completion.begin(engine, request(logit_bias={"9": 1, "10": 1}), HereRenderer())

    assert caught.value.param == "logit_bias"
    assert engine.asked == []


async def test_log_probabilities_are_openais_and_come_with_their_text() -> None:
    euro = (Logprob(b"\xe2\x82", -0.5, ((b"a", -0.25), (b"", -math.inf))), Logprob(b"\xac", 0.0))
    looks: list[list[Event]] = [[Piece(1, "\u20ac", euro)], [Finished(1, "stop", TokenUsage(3, 3))]]

    first, second, last = await chunks_of(FakeGeneration(looks), stream=True, logprobs=True, top_logprobs=2)

    assert msgspec.to_builtins(first.choices[0].logprobs) == {"content": [], "refusal": None}
    assert msgspec.to_builtins(second.choices[0].logprobs)["content"] == [
        {
            "token": "\ufffd",
            "logprob": -0.5,
            "bytes": [0xE2, 0x82],
            "top_logprobs": [
                {"token": "a", "logprob": -0.25, "bytes": [97]},
                {"token": "", "logprob": -9999.0, "bytes": None},
            ],
        },
        {"token": "\ufffd", "logprob": 0.0, "bytes": [0xAC], "top_logprobs": []},
    ]
    assert last.choices[0].logprobs is None


async def test_an_empty_answer_has_an_empty_list_of_log_probabilities_and_one_unasked_has_null() -> None:
    asked, unasked = [
        await fold((await Completion.begin(FakeEngine(generation()), request(logprobs=told), HereRenderer())).chunks())
        for told in (True, None)
    ]

    assert msgspec.to_builtins(asked.choices[0].logprobs) == {"content": [], "refusal": None}
    assert unasked.choices[0].logprobs is None


async def test_developer_is_the_newer_name_of_system() -> None:
    engine = FakeEngine(generation())

    await Completion.begin(engine, request(messages=[{"role": "developer", "content": "Be kind."}]), HereRenderer())

    assert text_of(engine.asked[0]).startswith("<|im_start|>system\nBe kind.")


async def test_text_parts_are_joined() -> None:
    engine = FakeEngine(generation())
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]

    await Completion.begin(engine, request(messages=[{"role": "user", "content": parts}]), HereRenderer())

    assert "user\nab<|im_end|>" in text_of(engine.asked[0])

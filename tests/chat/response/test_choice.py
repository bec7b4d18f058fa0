"""Several answers to one request, and answers that are more than content."""

import asyncio
from typing import Any

import msgspec
import pytest
from fake_engine import INFO, FakeEngine, FakeGeneration, HereRenderer, generation
from hypothesis import given
from hypothesis import strategies as st

from localrouter.chat.families.prompted_tools import FALLBACK
from localrouter.chat.response.chat_completion import Completion
from localrouter.chat.response.fold import fold
from localrouter.engine.generation_request import GenerationRequest, Thinking, ToolCalls
from localrouter.engine.messages import Event, Finished, Logprob, Piece, TokenUsage
from localrouter.engine.model_info import ModelInfo
from localrouter.errors import InvalidRequest, Overloaded
from localrouter.schema.chat_request import ChatRequest

THINKER: ModelInfo = msgspec.structs.replace(
    INFO, chat_template='{{ messages[0].content }}<think>{{ tools }}<tool_call>\n{"name"' + " {{ enable_thinking }}"
)
ADD = {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'


def request(**fields: object) -> ChatRequest:
    return ChatRequest.model_validate({"model": "fake", "messages": [{"role": "user", "content": "Hi"}]} | fields)


def tools(**fields: object) -> dict[str, object]:
    return {"tools": [{"type": "function", "function": ADD}]} | fields


async def plain(engine: FakeEngine, **fields: object) -> dict[str, Any]:
    completion = await Completion.begin(engine, request(**fields), HereRenderer())
    answer: dict[str, Any] = msgspec.to_builtins(await fold(completion.chunks()))
    return answer


async def stream(engine: FakeEngine, **fields: object) -> list[dict[str, Any]]:
    completion = await Completion.begin(engine, request(stream=True, **fields), HereRenderer())
    return [msgspec.to_builtins(chunk) async for chunks in completion.chunks() for chunk in chunks]


def refolded(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a client makes of the deltas: an independent fold, as OpenAI's SDKs do it."""
    messages: dict[int, dict[str, Any]] = {}
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        message = messages.setdefault(choice["index"], {"content": None})
        for key, value in choice["delta"].items():
            if key == "tool_calls":
                for call in value:
                    calls = message.setdefault("tool_calls", [])
                    if call["index"] == len(calls):
                        calls.append({"name": "", "arguments": "", "id": call["id"]})
                    calls[call["index"]]["name"] += call["function"].get("name", "")
                    calls[call["index"]]["arguments"] += call["function"].get("arguments", "")
            else:
                message[key] = (message.get(key) or "") + value
    return [messages[index] for index in sorted(messages)]


async def test_each_of_n_answers_is_a_choice_of_its_own() -> None:
    engine = FakeEngine(generation("a", "b"), generation("c"), generation(reason="length"))

    answer = await plain(engine, n=3)

    assert [(choice["index"], choice["message"]["content"]) for choice in answer["choices"]] == [
        (0, "ab"),
        (1, "c"),
        (2, ""),
    ]
    assert [choice["finish_reason"] for choice in answer["choices"]] == ["stop", "stop", "length"]


async def test_usage_counts_the_prompt_once_and_every_answer() -> None:
    usages = [TokenUsage(7, 2, 0, 1), TokenUsage(7, 3, 6, 2)]

    answer = await plain(FakeEngine(*(generation("x", usage=usage) for usage in usages)), n=2)

    assert answer["usage"] | {
        "completion_tokens_details": answer["usage"]["completion_tokens_details"]["reasoning_tokens"]
    } == {
        "prompt_tokens": 7,
        "completion_tokens": 5,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": 3,
    }


async def test_a_stream_of_n_answers_tells_them_apart_and_counts_once() -> None:
    engine = FakeEngine(generation("a", "b"), generation("c"))

    chunks = await stream(engine, n=2, stream_options={"include_usage": True})

    assert [message["content"] for message in refolded(chunks)] == ["ab", "c"]
    assert [bool(chunk["usage"]) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


async def test_answers_are_drawn_with_seeds_of_their_own_the_first_with_the_request_s() -> None:
    engine = FakeEngine(generation(), generation())

    await plain(engine, n=2, seed=7)

    assert [asked.sampling.seed for asked in engine.asked] == [7, 8]
    assert engine.asked[0].prompt == engine.asked[1].prompt


async def test_more_answers_than_the_model_has_sequences_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="at most 4") as refusal:
        await plain(FakeEngine(), n=5)

    assert refusal.value.param == "n"


async def test_a_full_queue_in_the_middle_of_n_frees_those_before() -> None:
    class Full(FakeEngine):
        def submit(self, request: GenerationRequest) -> FakeGeneration:
            if len(self.asked) == 1:
                raise Overloaded("full", retry_after=1)
            return super().submit(request)

    engine = Full(generation())

    with pytest.raises(Overloaded):
        await plain(engine, n=2)
    assert engine.generations[0].cancelled == 1


async def test_a_call_is_no_content() -> None:
    answer = await plain(FakeEngine(generation(CALL[:20], CALL[20:])), **tools())

    [choice] = answer["choices"]
    [call] = choice["message"]["tool_calls"]
    assert (call["type"], call["function"]) == ("function", {"name": "add", "arguments": '{"a": 1}'})
    assert call["id"].startswith("call_")
    assert choice["message"]["content"] is None
    assert choice["finish_reason"] == "tool_calls"


async def test_text_beside_a_call_stays_content() -> None:
    answer = await plain(FakeEngine(generation("Let me see.\n", CALL)), **tools())

    assert answer["choices"][0]["message"]["content"] == "Let me see."


async def test_calls_have_ids_of_their_own() -> None:
    answer = await plain(FakeEngine(generation(CALL, "\n", CALL)), **tools())

    first, second = answer["choices"][0]["message"]["tool_calls"]
    assert first["id"] != second["id"]


async def test_a_streamed_call_begins_with_its_id_and_name() -> None:
    chunks = await stream(FakeEngine(generation(CALL[:40], CALL[40:])), **tools())

    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant"}
    [begun] = deltas[1]["tool_calls"]
    assert (begun["index"], begun["type"], begun["function"]) == (0, "function", {"name": "add", "arguments": ""})
    assert all("id" not in delta["tool_calls"][0] for delta in deltas[2:-1])
    assert chunks[-1]["choices"][0] | {"logprobs": None} == {
        "index": 0,
        "delta": {},
        "finish_reason": "tool_calls",
        "logprobs": None,
    }


async def test_a_call_that_is_cut_is_reported_as_it_is() -> None:
    answer = await plain(FakeEngine(generation(CALL[:-15], reason="length")), **tools())

    [choice] = answer["choices"]
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"a": 1'
    assert choice["finish_reason"] == "length"


async def test_the_older_form_is_answered_in_the_older_form() -> None:
    answer = await plain(FakeEngine(generation(CALL)), functions=[ADD])

    [choice] = answer["choices"]
    assert choice["message"]["function_call"] == {"name": "add", "arguments": '{"a": 1}'}
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == "function_call"


async def test_what_looks_like_a_call_is_content_where_none_may_be_called() -> None:
    for fields in ({}, tools(tool_choice="none")):
        answer = await plain(FakeEngine(generation(CALL)), **fields)

        assert answer["choices"][0]["message"]["content"] == CALL
        assert answer["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(("choice", "calls"), [("auto", FALLBACK.calls), ("none", None)])
async def test_the_engine_knows_what_stands_around_calls_where_there_may_be_some(
    choice: str, calls: ToolCalls | None
) -> None:
    engine = FakeEngine(generation("Hello."))
    await plain(engine, **tools(tool_choice=choice, stop='"'))

    assert engine.asked[0].calls == calls


async def test_reasoning_is_reasoning_content_never_content() -> None:
    engine = FakeEngine(generation("<thi", "nk>\nWell.\n</think>", "\n\nHello"), info=THINKER)

    answer = await plain(engine)

    message = answer["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("Well.", "Hello")
    assert engine.asked[0].thinking == Thinking("<think>", "</think>")


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        ({}, Thinking("<think>", "</think>", budget=0)),
        ({"regex": ".*"}, None),
        ({"grammar": "start: /.*/"}, None),
        ({"response_format": {"type": "json_object"}}, None),
        (tools(), None),
    ],
    ids=["free", "regex", "grammar", "JSON", "tools"],
)
async def test_where_the_template_has_ended_reasoning_a_grammar_admits_no_more(
    fields: dict[str, object], thinking: Thinking | None
) -> None:
    ended = msgspec.structs.replace(THINKER, chat_template=f"{THINKER.chat_template}<think>\n\n</think>\n\n")
    engine = FakeEngine(generation("<think>a"), info=ended)
    await plain(engine, reasoning_effort="none", **fields)

    assert engine.asked[0].thinking == thinking


async def test_structured_output_that_spells_delimiters_is_content() -> None:
    text = f'{{"a": "<think>{CALL}"}}'
    answer = await plain(FakeEngine(generation("<think>b</think>\n", text), info=THINKER), regex=".*", **tools())

    [choice] = answer["choices"]
    assert (choice["message"]["reasoning_content"], choice["message"]["content"]) == ("b", text)
    assert choice["finish_reason"] == "stop"


async def test_an_answer_that_is_cut_in_its_reasoning_has_empty_content() -> None:
    answer = await plain(FakeEngine(generation("<think>We", reason="length"), info=THINKER))

    message = answer["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("We", "")


async def test_log_probabilities_are_those_of_the_content() -> None:
    texts = ["<think>", "\n", "Well", "</think>", "\n\n", "Hel", "lo"]
    looks: list[list[Event]] = [[Piece(1, text, (Logprob(text.encode(), -1.0),))] for text in texts]
    looks.append([Finished(1, "stop", TokenUsage(3, 7))])

    answer = await plain(FakeEngine(FakeGeneration(looks), info=THINKER), logprobs=True)

    [choice] = answer["choices"]
    assert [token["token"] for token in choice["logprobs"]["content"]] == ["Hel", "lo"]


async def test_a_grammar_that_the_engine_refuses_is_the_fault_of_the_field_that_it_comes_from() -> None:
    refused = FakeGeneration([], InvalidRequest("no such rule", code="invalid_grammar"))

    with pytest.raises(InvalidRequest, match="no such rule") as refusal:
        await plain(FakeEngine(refused), grammar="start: nothing")

    assert (refusal.value.param, refusal.value.reason) == ("grammar", "invalid_grammar")
    assert refused.cancelled == 1


@pytest.mark.parametrize("code", ["grammar_dead_end", "grammar_failed"])
async def test_an_answer_that_its_own_grammar_leaves_without_an_end_is_no_fault_of_ours(code: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await plain(FakeEngine(generation("a", reason="error", code=code)), grammar='start: "a" start')

    assert refusal.value.reason == code


PIECES = ["<think>", "</think>", "\n", " ", CALL, CALL[:25], "</tool_call>", "text", "<tool", '"']


@given(
    texts=st.lists(st.lists(st.sampled_from(PIECES), max_size=6).map("".join), min_size=1, max_size=3),
    cut=st.integers(1, 9),
    fields=st.sampled_from([{}, tools(), tools(logprobs=True)]),
)
def test_for_any_answer_the_folded_stream_is_the_plain_answer(
    texts: list[str], cut: int, fields: dict[str, object]
) -> None:
    def engine() -> FakeEngine:
        pieces = [[text[start : start + cut] for start in range(0, len(text), cut)] for text in texts]
        return FakeEngine(*(generation(*some) for some in pieces), info=THINKER)

    async def both() -> tuple[list[dict[str, Any]], dict[str, Any]]:
        return await stream(engine(), n=len(texts), **fields), await plain(engine(), n=len(texts), **fields)

    chunks, answer = asyncio.run(both())

    for message, choice in zip(refolded(chunks), answer["choices"], strict=True):
        said = choice["message"]
        assert message["content"] == said["content"]
        assert message.get("reasoning_content") == said.get("reasoning_content")
        calls = [call["function"] for call in said.get("tool_calls", [])]
        assert [{key: call[key] for key in ("name", "arguments")} for call in message.get("tool_calls", [])] == calls

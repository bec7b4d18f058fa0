"""Log probabilities of prompts over HTTP: `echo` with `logprobs`, and vLLM's `prompt_logprobs`."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from serving_fakes import CHAT, HELLO, FakeRouter, finished, piece

from localrouter.engine.messages import Event, Finished, Logprob, Piece, PromptLogprobs, PromptToken, TokenUsage

COMPLETIONS = "/v1/completions"
ONCE: dict[str, Any] = {"model": "echo", "prompt": "a€"}
IMPOSSIBLE = float("-inf")
FIRST = PromptToken(97, b"a")
REST = (
    PromptToken(1, b"\xe2\x82", -1.5, 2, ((7, b"z", -0.5), (1, b"\xe2\x82", -1.5))),
    PromptToken(2, b"\xac", IMPOSSIBLE, 9, ((7, b"z", -0.25), (8, b"y", -2.0))),
)
SCORED: list[Event] = [PromptLogprobs(0, (FIRST,)), PromptLogprobs(0, REST, is_last=True)]
SAID: list[Event] = [Piece(0, "b", (Logprob(b"b", -3.0),)), Piece(0, "", (Logprob(b"<|im_end|>", -4.0),)), finished()]


@pytest.fixture
def router() -> FakeRouter:
    router = FakeRouter()
    router.fake.script = [SCORED[:1], [SCORED[1]], SAID]
    return router


def chunks_of(text: str) -> list[Any]:
    *told, done, _ = text.split("\n\n")
    assert done == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in told]


@pytest.mark.parametrize("stream", [False, True])
async def test_echoed_logprobs_are_one_list_with_those_of_the_output(client: httpx.AsyncClient, stream: bool) -> None:
    answer = await client.post(COMPLETIONS, json={**ONCE, "echo": True, "logprobs": 1, "stream": stream})
    choices = [
        choice for chunk in (chunks_of(answer.text) if stream else [answer.json()]) for choice in chunk["choices"]
    ]
    assert "".join(choice["text"] for choice in choices) == "a€b"
    told = [choice["logprobs"] for choice in choices]
    assert {name: [item for some in told for item in some[name]] for name in told[0]} == {
        "tokens": ["a", r"bytes:\xe2\x82", r"bytes:\xac", "b", "<|im_end|>"],
        "token_logprobs": [None, -1.5, -9999.0, -3.0, -4.0],
        "top_logprobs": [
            None,
            {"z": -0.5, r"bytes:\xe2\x82": -1.5},
            {"z": -0.25, r"bytes:\xac": -9999.0},
            {"b": -3.0},
            {"<|im_end|>": -4.0},
        ],
        "text_offset": [0, 1, 1, 2, 3],
    }


async def test_a_begin_token_before_the_text_has_the_offset_0(router: FakeRouter, client: httpx.AsyncClient) -> None:
    begun = PromptLogprobs(
        0, (PromptToken(0, b"<bos>"), PromptToken(97, b"a", -1.0, 1), PromptToken(98, b"b", -1.0, 1)), is_last=True
    )
    router.fake.script = [[begun, finished()]]
    answer = await client.post(COMPLETIONS, json={**ONCE, "prompt": "ab", "echo": True, "logprobs": 0, "max_tokens": 0})
    (choice,) = answer.json()["choices"]
    assert choice["text"] == "ab"
    assert choice["logprobs"]["text_offset"] == [0, 0, 1]


@pytest.mark.parametrize(
    ("fields", "top", "lists_silent"),
    [
        ({"echo": True, "logprobs": 2}, 2, True),
        ({"prompt_logprobs": 3}, 3, False),
        ({"echo": True, "logprobs": 4, "prompt_logprobs": 3}, 4, True),
        ({"echo": True}, None, True),
        ({"logprobs": 2}, None, False),
    ],
)
async def test_the_engine_scores_what_is_needed(
    router: FakeRouter, client: httpx.AsyncClient, fields: dict[str, Any], top: int | None, lists_silent: bool
) -> None:
    await client.post(COMPLETIONS, json={**ONCE, "n": 2, **fields})
    assert [asked.prompt_logprobs for asked in router.fake.asked] == [top, None]
    assert [asked.lists_silent for asked in router.fake.asked] == [lists_silent] * 2


async def test_every_choice_of_a_prompt_has_its_logprobs(router: FakeRouter, client: httpx.AsyncClient) -> None:
    """Whichever choice ends first: the others of a prompt wait for the first one's report."""
    router.fake.script = None
    body = {**ONCE, "prompt": ["a€", "a€"], "n": 2, "echo": True, "logprobs": 0}
    asking = asyncio.create_task(client.post(COMPLETIONS, json=body))
    generations = [await router.fake.generations.get() for _ in range(4)]
    for generation in generations:
        generation.let_in()
    for generation in (generations[1], generations[3]):
        generation.say(piece("x"), finished())
    await asyncio.sleep(0)
    for generation in (generations[2], generations[0]):
        generation.say(*SCORED)
        generation.say(piece("y"), finished())
    answer = (await asking).json()

    assert [choice["text"] for choice in answer["choices"]] == ["a€y", "a€x", "a€y", "a€x"]
    assert [choice["logprobs"]["token_logprobs"] for choice in answer["choices"]] == [[None, -1.5, -9999.0]] * 4
    assert answer["usage"]["prompt_tokens"] == 10


async def test_a_failed_choice_fails_the_request_before_its_prompt_is_scored(
    router: FakeRouter, client: httpx.AsyncClient
) -> None:
    router.fake.script = [[Finished(0, "error", TokenUsage(3, 0), "not_finite", "no numbers")]]
    answer = await client.post(COMPLETIONS, json={**ONCE, "echo": True, "logprobs": 0})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "not_finite")


VLLM = [
    None,
    {
        "1": {"logprob": -1.5, "rank": 2, "decoded_token": "\ufffd"},
        "7": {"logprob": -0.5, "rank": 1, "decoded_token": "z"},
    },
    {
        "2": {"logprob": -9999.0, "rank": 9, "decoded_token": "\ufffd"},
        "7": {"logprob": -0.25, "rank": 1, "decoded_token": "z"},
    },
]


async def test_prompt_logprobs_have_vllms_form(client: httpx.AsyncClient) -> None:
    answer = await client.post(COMPLETIONS, json={**ONCE, "prompt_logprobs": 1})
    (choice,) = answer.json()["choices"]
    assert (choice["text"], choice["logprobs"], choice["prompt_logprobs"]) == ("b", None, VLLM)


async def test_a_chat_completion_has_them_once(router: FakeRouter, client: httpx.AsyncClient) -> None:
    router.fake.script = [SCORED, [piece("b"), finished()]]
    answer = await client.post(CHAT, json={**HELLO, "prompt_logprobs": 1, "n": 2})
    assert answer.json()["prompt_logprobs"] == VLLM
    assert [asked.prompt_logprobs for asked in router.fake.asked] == [1, None]


async def test_they_are_absent_unless_requested(client: httpx.AsyncClient) -> None:
    assert "prompt_logprobs" not in (await client.post(COMPLETIONS, json={**ONCE, "echo": True, "logprobs": 1})).text
    assert "prompt_logprobs" not in (await client.post(CHAT, json=HELLO)).text


async def test_a_chat_stream_has_no_place_for_them(client: httpx.AsyncClient) -> None:
    answer = await client.post(CHAT, json={**HELLO, "prompt_logprobs": 0, "stream": True})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt_logprobs")


@pytest.mark.parametrize("echo", [False, True])
async def test_no_output_is_an_empty_one(router: FakeRouter, client: httpx.AsyncClient, echo: bool) -> None:
    router.fake.script = [[Finished(0, "length", TokenUsage(3, 0))]]
    answer = await client.post(COMPLETIONS, json={**ONCE, "max_tokens": 0, "echo": echo})
    (choice,) = answer.json()["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("a€" if echo else "", "length")
    assert (router.fake.asked[0].max_tokens, answer.json()["usage"]["completion_tokens"]) == (0, 0)

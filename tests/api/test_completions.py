"""`POST /v1/completions`: raw prompts, several of them, and the older shape of what comes back."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer
from openai.types.completion import Completion
from openai.types.completion_create_params import CompletionCreateParamsBase
from serving_fakes import FakeGeneration, FakeRouter, finished, piece

from localrouter.chat.response.logprobs import token_text
from localrouter.chat.response.text_choice import TextChoiceStream
from localrouter.chat.response.text_completion import fold_text
from localrouter.engine.generation_request import Segment
from localrouter.engine.messages import Event, Finished, Logprob, Piece, TokenUsage
from localrouter.errors import ContextLengthExceeded, EngineFailed, InvalidRequest
from localrouter.schema import chat_response as schema
from localrouter.schema.text_completions import CompletionRequest, TextChoice, TextCompletionResponse

COMPLETIONS = "/v1/completions"
ONCE: dict[str, Any] = {"model": "echo", "prompt": "Once"}
STREAM: dict[str, Any] = {**ONCE, "stream": True}
COUNTED = schema.Usage(1, 1, 2, schema.PromptTokensDetails(0), schema.CompletionTokensDetails(0))


def events(text: str) -> list[Any]:
    *told, done, _ = text.split("\n\n")
    assert done == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in told]


def fold(chunks: list[Any]) -> dict[int, str]:
    texts: dict[int, str] = {}
    for choice in (choice for chunk in chunks for choice in chunk["choices"]):
        texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    return texts


async def test_a_plain_answer_is_openais_object(client: httpx.AsyncClient) -> None:
    answer = await client.post(COMPLETIONS, json=ONCE)
    body = answer.json()
    assert answer.status_code == 200
    assert (body["object"], body["model"]) == ("text_completion", "localrouter-echo")
    assert body["id"].startswith("cmpl-")
    assert body["choices"] == [{"index": 0, "text": "Hello", "logprobs": None, "finish_reason": "stop"}]
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (5, 2)
    assert Completion.model_validate(body).system_fingerprint


async def test_a_stream_says_the_text_the_reason_and_done(client: httpx.AsyncClient) -> None:
    answer = await client.post(COMPLETIONS, json=STREAM)
    choices = [chunk["choices"][0] for chunk in events(answer.text)]
    assert [(choice["text"], choice["finish_reason"]) for choice in choices] == [
        ("Hel", None),
        ("lo", None),
        ("", "stop"),
    ]
    assert "usage" not in answer.text


async def test_the_usage_comes_last_when_asked_for(client: httpx.AsyncClient) -> None:
    answer = await client.post(COMPLETIONS, json={**STREAM, "stream_options": {"include_usage": True}})
    *others, last = events(answer.text)
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 7)
    assert [chunk["usage"] for chunk in others] == [None] * 3


async def test_the_prompt_is_raw_and_its_control_tokens_are_recognised(
    router: FakeRouter, client: httpx.AsyncClient
) -> None:
    await client.post(COMPLETIONS, json={**ONCE, "prompt": "<|im_start|>user\nHi"})
    (asked,) = router.fake.asked
    assert asked.prompt == [Segment("<|im_start|>user\nHi", control=True)]
    assert asked.max_tokens == 16


async def test_what_shapes_the_draw_reaches_the_engine(router: FakeRouter, client: httpx.AsyncClient) -> None:
    fields = {"temperature": 0.5, "top_p": 0.9, "top_k": 4, "min_p": 0.1, "repeat_penalty": 1.1, "logprobs": 3}
    penalties = {"presence_penalty": 1, "frequency_penalty": -1, "logit_bias": {"7": -100}, "stop": ["END"]}
    await client.post(COMPLETIONS, json={**ONCE, **fields, **penalties, "max_tokens": 9, "grammar": 'start: "a"'})
    (asked,) = router.fake.asked
    assert {name: getattr(asked.sampling, name) for name in fields} == fields
    assert asked.sampling.logit_bias == {7: -100.0}
    assert asked.sampling.stop == ("END",)
    assert asked.max_tokens == 9
    assert asked.grammar is not None
    assert asked.grammar.lark == 'start: "a"'


@pytest.mark.parametrize(
    ("prompt", "texts", "tokens"),
    [
        ("a", ["a"], [None]),
        (["a", "b"], ["a", "b"], [None, None]),
        ([1, 2], [""], [[1, 2]]),
        ([[1, 2], [3]], ["", ""], [[1, 2], [3]]),
    ],
)
async def test_prompts_are_text_or_tokens_one_or_several(
    router: FakeRouter, client: httpx.AsyncClient, prompt: object, texts: list[str], tokens: list[list[int] | None]
) -> None:
    answer = await client.post(COMPLETIONS, json={**ONCE, "prompt": prompt})
    assert ["".join(segment.text for segment in asked.prompt) for asked in router.fake.asked] == texts
    assert [asked.tokens for asked in router.fake.asked] == tokens
    assert [choice["index"] for choice in answer.json()["choices"]] == list(range(len(texts)))


async def test_the_answers_to_one_prompt_stand_together(router: FakeRouter, client: httpx.AsyncClient) -> None:
    router.fake.script = None
    asking = asyncio.create_task(client.post(COMPLETIONS, json={**ONCE, "prompt": ["a", "b"], "n": 2, "seed": 7}))
    generations = await running(router, 4)
    for number, generation in enumerate(reversed(generations)):
        generation.let_in()
        generation.say(piece(f"answer {3 - number}"), finished())
    answer = (await asking).json()

    assert [choice["text"] for choice in answer["choices"]] == [f"answer {index}" for index in range(4)]
    asked = [(asked.prompt[0].text, asked.sampling.seed) for asked in router.fake.asked]
    assert asked == [("a", 7), ("a", 8), ("b", 7), ("b", 8)]
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (10, 8)
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 6


async def running(router: FakeRouter, count: int) -> list[FakeGeneration]:
    return [await router.fake.generations.get() for _ in range(count)]


async def test_choices_are_in_order_whichever_comes_first() -> None:
    def chunk(*choices: TextChoice) -> TextCompletionResponse:
        return TextCompletionResponse(id="cmpl-1", created=1, model="m", system_fingerprint="fp", choices=list(choices))

    async def chunks() -> AsyncIterator[list[TextCompletionResponse]]:
        yield [chunk(TextChoice(1, "b", finish_reason="stop")), chunk(TextChoice(0, "a", finish_reason="stop"))]
        end = chunk()
        end.usage = COUNTED
        yield [end]

    assert [choice.text for choice in (await fold_text(chunks())).choices] == ["a", "b"]


async def test_an_answer_without_an_end_is_an_error() -> None:
    async def chunks() -> AsyncIterator[list[TextCompletionResponse]]:
        unfinished = TextChoice(0, "a")
        yield [
            TextCompletionResponse(
                id="cmpl-1", created=1, model="m", system_fingerprint="fp", choices=[unfinished], usage=COUNTED
            )
        ]

    with pytest.raises(EngineFailed):
        await fold_text(chunks())


@pytest.mark.parametrize("prompts", [["Once", "Twice"], [list(b"Once"), list(b"Twice")]], ids=["text", "tokens"])
@pytest.mark.parametrize("stream", [False, True])
async def test_echo_says_the_prompt_first(client: httpx.AsyncClient, prompts: object, stream: bool) -> None:
    answer = await client.post(COMPLETIONS, json={**ONCE, "prompt": prompts, "n": 2, "echo": True, "stream": stream})
    texts = fold(events(answer.text) if stream else [answer.json()])
    assert texts == {0: "OnceHello", 1: "OnceHello", 2: "TwiceHello", 3: "TwiceHello"}


IMPOSSIBLE = float("-inf")
TOLD: list[list[Event]] = [
    [
        Piece(0, "a", (Logprob(b"a", -1.0, ((b"b", -0.5), (b"a", -1.0))),)),
        Piece(0, "€", (Logprob(b"\xe2\x82", -2.0), Logprob(b"\xac", -3.0, ((b"", -0.1),)))),
    ],
    [Piece(0, "xy", (Logprob(b"xy", IMPOSSIBLE, ((b"z", -0.5),)),)), finished()],
]


@pytest.mark.parametrize("stream", [False, True])
async def test_logprobs_have_the_older_form(router: FakeRouter, client: httpx.AsyncClient, stream: bool) -> None:
    router.fake.script = TOLD
    answer = await client.post(COMPLETIONS, json={**ONCE, "logprobs": 2, "stream": stream})
    told = [chunk["choices"][0]["logprobs"] for chunk in (events(answer.text) if stream else [answer.json()])]
    assert {name: [item for some in told for item in some[name]] for name in told[0]} == {
        "tokens": ["a", r"bytes:\xe2\x82", r"bytes:\xac", "xy"],
        "token_logprobs": [-1.0, -2.0, -3.0, -9999.0],
        "top_logprobs": [
            {"b": -0.5, "a": -1.0},
            {r"bytes:\xe2\x82": -2.0},
            {"": -0.1, r"bytes:\xac": -3.0},
            {"z": -0.5, "xy": -9999.0},
        ],
        "text_offset": [0, 1, 1, 2],
    }


@given(st.text(max_size=20), st.data())
def test_an_offset_is_where_the_text_of_the_token_begins(text: str, data: st.DataObject) -> None:
    """However the bytes of a text are cut into tokens, and however these are cut into looks."""
    rest, looks, offsets = text.encode(), [], []
    stream = TextChoiceStream(0, has_logprobs=True)
    while rest:
        tokens: list[Logprob] = []
        begin = len(text.encode()) - len(rest)
        while rest and (not tokens or not _is_text(text.encode()[begin : -len(rest)])):
            size = data.draw(st.integers(1, len(rest)))
            offsets.append(len(text.encode()[: -len(rest)].decode(errors="ignore")))
            tokens.append(Logprob(rest[:size], -1.0))
            rest = rest[size:]
        said = b"".join(token.piece for token in tokens).decode()
        looks += stream.feed([Piece(0, said, tuple(tokens))])
    assert [offset for look in looks if look.logprobs for offset in look.logprobs.text_offset] == offsets


def _is_text(data: bytes) -> bool:
    return not token_text(data).startswith("bytes:") or data.startswith(b"bytes:")


@given(st.lists(st.text(min_size=1, max_size=5), max_size=6), st.lists(st.booleans(), min_size=7, max_size=7))
def test_the_fold_is_the_same_whatever_comes_together(texts: list[str], cuts: list[bool]) -> None:
    everything: list[Event] = [*(Piece(0, text) for text in texts), Finished(0, "length", TokenUsage(1, 1))]
    stream = TextChoiceStream(3, has_logprobs=False)
    choices, look = [], []
    for event, cut in zip(everything, cuts, strict=False):
        look.append(event)
        if cut or isinstance(event, Finished):
            choices += stream.feed(look)
            look = []
    assert "".join(choice.text for choice in choices) == "".join(texts)
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["length"]
    assert choices[-1].finish_reason
    assert {choice.index for choice in choices} == {3}


TOO_LONG = [[1]] * 129
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"model": "echo"}, "prompt", "missing_required_parameter"),
    ({"prompt": None}, "prompt", "invalid_type"),
    ({"prompt": 3}, "prompt", "invalid_type"),
    ({"prompt": {}}, "prompt", "invalid_type"),
    ({"prompt": []}, "prompt", "invalid_value"),
    ({"prompt": [[]]}, "prompt[0]", "invalid_value"),
    ({"prompt": ["a", 1]}, "prompt[1]", "invalid_type"),
    ({"prompt": [1, "a"]}, "prompt[1]", "invalid_type"),
    ({"prompt": [[1], [True]]}, "prompt[1][0]", "invalid_type"),
    ({"prompt": [-1]}, "prompt[0]", "invalid_value"),
    ({"prompt": [5, 256]}, "prompt", "invalid_value"),
    ({"prompt": [[5], [256]]}, "prompt[1]", "invalid_value"),
    ({"prompt": ["a"] * 129}, "prompt", "invalid_value"),
    ({"prompt": TOO_LONG}, "prompt", "invalid_value"),
    ({"n": 0}, "n", "invalid_value"),
    ({"n": 129}, "n", "invalid_value"),
    ({"n": 65, "prompt": ["a", "b"]}, "n", "invalid_value"),
    ({"best_of": 2}, "best_of", "unsupported_parameter"),
    ({"best_of": 3, "n": 2}, "best_of", "unsupported_parameter"),
    ({"max_tokens": -2}, "max_tokens", "invalid_value"),
    ({"logprobs": 21}, "logprobs", "invalid_value"),
    ({"logprobs": True}, "logprobs", "invalid_type"),
    ({"prompt_logprobs": 21}, "prompt_logprobs", "invalid_value"),
    ({"prompt_logprobs": -1}, "prompt_logprobs", "invalid_value"),
    ({"prompt_logprobs": 0, "stream": True}, "prompt_logprobs", "unsupported_parameter"),
    ({"suffix": "."}, "suffix", "unsupported_parameter"),
    ({"stop": ["a"] * 65}, "stop", "invalid_value"),
    ({"min_tokens": 17}, "min_tokens", "invalid_value"),
    ({"min_tokens": 9, "max_tokens": 8}, "min_tokens", "invalid_value"),
    ({"grammar": "root ::= other"}, "grammar", "invalid_grammar"),
    ({"suffix": ".", "echo": True}, "suffix", "unsupported_parameter"),
    ({"suffix": 1}, "suffix", "invalid_type"),
    ({"logit_bias": {"256": 1}}, "logit_bias", "invalid_value"),
    ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage", "invalid_type"),
    ({"regex": "(?=a)"}, "regex", "invalid_grammar"),
    ({"regex": "a", "grammar": "start: b"}, "grammar", "invalid_value"),
    ({"ttl": -1}, "ttl", "invalid_value"),
    ({"messages": []}, "messages", "unknown_parameter"),
]


@pytest.mark.parametrize(("fields", "param", "code"), WRONG)
async def test_what_is_wrong_is_named(
    router: FakeRouter, client: httpx.AsyncClient, fields: dict[str, Any], param: str, code: str
) -> None:
    answer = await client.post(COMPLETIONS, json=fields if "model" in fields else {**ONCE, **fields})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code)
    assert router.fake.generations.empty()


@pytest.mark.parametrize(
    "fields",
    [{"best_of": 1, "n": 2}, {"best_of": 2, "n": 2}, {"suffix": ""}, {"suffix": None}, {"n": 64, "prompt": ["a", "b"]}],
)
async def test_what_asks_for_nothing_more_is_taken(client: httpx.AsyncClient, fields: dict[str, Any]) -> None:
    assert (await client.post(COMPLETIONS, json={**ONCE, **fields})).status_code == 200


def test_every_field_of_openai_is_known() -> None:
    assert set(CompletionCreateParamsBase.__annotations__) <= set(CompletionRequest.model_fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"enum": [7]}}}},
        {"guided_json": {"enum": [7]}},
        {"structured_outputs": {"choice": ["7"]}},
    ],
)
async def test_an_output_can_have_a_structure(
    router: FakeRouter, client: httpx.AsyncClient, fields: dict[str, Any]
) -> None:
    await client.post(COMPLETIONS, json={**ONCE, **fields})
    (asked,) = router.fake.asked
    assert asked.grammar is not None
    matcher = LLMatcher(LLTokenizer("byte"), asked.grammar.lark)
    assert matcher.consume_tokens(list(b"7")), matcher.get_error()
    assert matcher.is_accepting()


async def test_a_part_of_a_schema_that_is_not_enforced_is_named_as_it_was_sent(client: httpx.AsyncClient) -> None:
    answer = await client.post(COMPLETIONS, json={**ONCE, "guided_json": {"type": "array", "uniqueItems": True}})
    assert answer.headers["x-localrouter-not-enforced"] == "guided_json.uniqueItems"


async def test_a_regex_becomes_a_grammar(router: FakeRouter, client: httpx.AsyncClient) -> None:
    await client.post(COMPLETIONS, json={**ONCE, "regex": "a/b+"})
    (asked,) = router.fake.asked
    assert asked.grammar is not None
    matcher = LLMatcher(LLTokenizer("byte"), asked.grammar.lark)
    assert matcher.consume_tokens(list(b"a/bb")), matcher.get_error()
    assert matcher.is_accepting()


@pytest.mark.parametrize(
    ("refusal", "param", "code"),
    [
        (ContextLengthExceeded(9, 8), "prompt[1]", "context_length_exceeded"),
        (InvalidRequest("no tokens", param="messages", code="empty_prompt"), "prompt[1]", "empty_prompt"),
        (InvalidRequest("bad rule", code="invalid_grammar"), "grammar", "invalid_grammar"),
    ],
)
async def test_a_refusal_of_one_prompt_is_one_of_all_and_names_it(
    router: FakeRouter, client: httpx.AsyncClient, refusal: Exception, param: str, code: str
) -> None:
    router.fake.script = None
    asked = {**STREAM, "prompt": ["a", "b"], "grammar": "start: x"}
    asking = asyncio.create_task(client.post(COMPLETIONS, json=asked))
    first, second = await running(router, 2)
    first.let_in()
    second.refuse(refusal)
    answer = await asking

    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code)
    assert "message" not in error["message"]
    assert first.cancelled.is_set()
    assert second.cancelled.is_set()


async def test_what_was_queued_before_the_queue_was_full_is_given_up(
    router: FakeRouter, client: httpx.AsyncClient
) -> None:
    router.fake.room = 1
    answer = await client.post(COMPLETIONS, json={**ONCE, "n": 2})
    assert answer.status_code == 429
    (only,) = router.fake.running
    assert only.cancelled.is_set()


@pytest.mark.parametrize("body", [ONCE, STREAM], ids=["plain", "stream"])
async def test_a_finished_request_holds_nothing(router: FakeRouter, client: httpx.AsyncClient, body: Any) -> None:
    await client.post(COMPLETIONS, json={**body, "n": 2})
    assert all(generation.cancelled.is_set() for generation in router.fake.running)


async def test_an_answer_that_breaks_is_an_error_for_all(router: FakeRouter, client: httpx.AsyncClient) -> None:
    router.fake.script = None
    asking = asyncio.create_task(client.post(COMPLETIONS, json={**ONCE, "n": 2}))
    first, second = await running(router, 2)
    for generation in (first, second):
        generation.let_in()
    first.fail(EngineFailed("the worker died"))
    answer = await asking
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "engine_failed")
    assert second.cancelled.is_set()


async def test_the_log_counts_the_tokens(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "localrouter.access"):
        await client.post(COMPLETIONS, json={**ONCE, "prompt": ["a", "b"]})
    (line,) = [record.getMessage() for record in caplog.records if record.name == "localrouter.access"]
    assert "/v1/completions 200 model=localrouter-echo prompt_tokens=10 completion_tokens=4" in line


async def test_its_ttl_reaches_the_router(router: FakeRouter, client: httpx.AsyncClient) -> None:
    await client.post(COMPLETIONS, json={**ONCE, "ttl": 30})
    assert router.ttls == [30]

"""What changes the odds, tells of them and ends an answer, asked for with the OpenAI SDK."""

from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionTokenLogprob
from running_server import RunningServer

STORY: list[Any] = [{"role": "user", "content": "Tell me a story."}]
ASKED: dict[str, Any] = {"model": "demo", "messages": STORY, "temperature": 0, "max_tokens": 24}
EURO: list[Any] = [{"role": "user", "content": "1 € is money; END of it"}]


def bytes_of(tokens: list[ChatCompletionTokenLogprob] | None) -> bytes:
    return b"".join(bytes(token.bytes or []) for token in tokens or [])


def listed(choice: Any) -> list[ChatCompletionTokenLogprob]:
    return list(choice.logprobs.content)


def said(server: RunningServer, **fields: Any) -> str:
    answer = server.client().chat.completions.create(**{**ASKED, **fields})
    return answer.choices[0].message.content or ""


def test_the_likeliest_token_is_the_greedy_choice_and_the_bytes_are_the_text(server: RunningServer) -> None:
    answer = server.client().chat.completions.create(**ASKED, logprobs=True, top_logprobs=5)

    tokens = listed(answer.choices[0])
    assert bytes_of(tokens).decode() == answer.choices[0].message.content
    assert answer.choices[0].message.content
    for token in tokens:
        top = token.top_logprobs
        assert (top[0].token, top[0].logprob) == (token.token, token.logprob)
        assert len(top) == 5
        assert 0 >= top[0].logprob >= top[-1].logprob


def test_a_stream_tells_the_same_of_each_token_beside_its_text(server: RunningServer) -> None:
    plain = server.client().chat.completions.create(**ASKED, logprobs=True, top_logprobs=1)
    chunks = list(server.client().chat.completions.create(**ASKED, logprobs=True, top_logprobs=1, stream=True))

    told = [chunk.choices[0] for chunk in chunks]
    assert all(bytes_of(listed(some)).decode() == some.delta.content for some in told if some.logprobs)
    streamed = [token for some in told if some.logprobs for token in listed(some)]
    assert [(token.token, token.bytes) for token in streamed] == [
        (token.token, token.bytes) for token in listed(plain.choices[0])
    ]


def test_tokens_that_share_a_character_have_its_bytes(server: RunningServer) -> None:
    answer = server.client().chat.completions.create(model="echo", messages=EURO, logprobs=True)

    tokens = listed(answer.choices[0])
    assert [token.token for token in tokens[1:5]] == [" ", "\ufffd", "\ufffd", "\ufffd"]
    assert bytes_of(tokens).decode() == answer.choices[0].message.content == EURO[0]["content"]
    assert {token.logprob for token in tokens} == {0.0}


def test_the_log_probabilities_are_those_before_temperature_and_penalties(server: RunningServer) -> None:
    first = [
        listed(server.client().chat.completions.create(**{**ASKED, **fields}, logprobs=True).choices[0])[0]
        for fields in ({}, {"temperature": 0.01, "presence_penalty": 2, "extra_body": {"top_k": 1}})
    ]

    assert first[0].token == first[1].token
    assert first[0].logprob == pytest.approx(first[1].logprob, abs=1e-3)


@pytest.mark.parametrize("stream", [False, True])
def test_nothing_of_a_stop_string_gets_out(server: RunningServer, stream: bool) -> None:
    asked: dict[str, Any] = {"model": "echo", "messages": EURO, "stop": ["nothing", "END"], "logprobs": True}
    if stream:
        chunks = list(server.client().chat.completions.create(**asked, stream=True))
        deltas = [chunk.choices[0].delta.content or "" for chunk in chunks]
        reason = chunks[-1].choices[0].finish_reason
        told = b"".join(bytes_of(listed(chunk.choices[0])) for chunk in chunks if chunk.choices[0].logprobs)
    else:
        choice = server.client().chat.completions.create(**asked).choices[0]
        deltas, reason, told = [choice.message.content], choice.finish_reason, bytes_of(listed(choice))

    assert "".join(deltas) == told.decode() == "1 € is money; "
    assert reason == "stop"


def test_an_answer_stops_inside_a_word_of_the_model(server: RunningServer) -> None:
    whole = said(server)
    stop = whole[7:10]

    answer = server.client().chat.completions.create(**ASKED, stop=stop, logprobs=True)

    assert answer.choices[0].message.content == whole[: whole.index(stop)]
    assert bytes_of(listed(answer.choices[0])).decode() == answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"


def test_every_stop_counts_the_tokens_that_were_sampled(server: RunningServer) -> None:
    answer = server.client().chat.completions.create(model="echo", messages=EURO, stop=" is")

    assert answer.usage is not None
    assert answer.usage.completion_tokens == len("1 € is".encode())


def test_a_bias_of_100_forces_a_token_and_one_of_minus_100_bans_it(server: RunningServer) -> None:
    free = said(server)
    token = next(number for number in range(300, 400) if _text_of(server, number).strip() not in ("", free[:1]))
    forced = _text_of(server, token)

    assert said(server, logit_bias={str(token): 100}, max_tokens=3) == 3 * forced
    assert forced not in said(server, logit_bias={str(token): -100}, temperature=1, seed=1)


def _text_of(server: RunningServer, token: int) -> str:
    return said(server, logit_bias={str(token): 100}, max_tokens=1)


def test_a_frequency_penalty_grows_until_another_token_is_drawn(server: RunningServer) -> None:
    forced, other = (_text_of(server, token) for token in (300, 301))
    asked: dict[str, Any] = {"logit_bias": {"300": 100, "301": 70}, "max_tokens": 40}

    assert said(server, **asked) == 40 * forced
    assert other in said(server, **asked, frequency_penalty=2)


@pytest.mark.parametrize("fields", [{"presence_penalty": 2}, {"extra_body": {"repeat_penalty": 2}}])
def test_a_penalty_changes_an_answer_that_repeats_itself(server: RunningServer, fields: dict[str, Any]) -> None:
    assert said(server, **fields) != said(server)


@pytest.mark.parametrize("fields", [{"top_k": 1}, {"min_p": 1.0}])
def test_only_the_likeliest_token_is_left_to_draw(server: RunningServer, fields: dict[str, Any]) -> None:
    assert said(server, temperature=1, seed=3, extra_body=fields) == said(server)


def test_a_token_that_the_vocabulary_has_not_is_refused(server: RunningServer) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        said(server, logit_bias={"100000000": 1})

    assert caught.value.param == "logit_bias"

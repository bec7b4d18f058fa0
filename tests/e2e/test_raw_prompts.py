"""Raw prompts and tokens over HTTP, with a real model: the older route, what it is given, and how it is counted."""

import re
import time
from typing import Any

import httpx
import pytest
from running_server import PATIENCE, RunningServer

RAW: dict[str, Any] = {"model": "demo", "prompt": "The cat sat on", "temperature": 0, "max_tokens": 12}
TURN = "<|im_start|>user\nTell me a story.<|im_end|>\n<|im_start|>assistant\n"


def post(server: RunningServer, path: str, **body: object) -> Any:
    url = server.base_url.removesuffix("/v1") + path
    return httpx.post(url, json={"model": "demo", **body}, timeout=PATIENCE).raise_for_status().json()


def tokens_of(server: RunningServer, content: str, **fields: object) -> list[int]:
    tokens: list[int] = post(server, "/tokenize", content=content, **fields)["tokens"]
    return tokens


def test_the_same_prompt_as_text_and_in_tokens_is_answered_alike(server: RunningServer) -> None:
    tokens = tokens_of(server, RAW["prompt"], add_special=True)
    as_text, in_tokens = (
        server.client().completions.create(**{**RAW, "prompt": prompt}) for prompt in (RAW["prompt"], tokens)
    )
    assert as_text.choices[0].text == in_tokens.choices[0].text != ""
    assert as_text.usage is not None
    assert in_tokens.usage is not None
    assert as_text.usage.prompt_tokens == in_tokens.usage.prompt_tokens == len(tokens)


def test_a_stream_folds_to_the_plain_answer(server: RunningServer) -> None:
    # Of echo: four answers run beside each other, and a model's rounding could decide between tokens that are as good.
    asked = {**RAW, "model": "echo", "prompt": ["The cat", "A dog"], "n": 2, "temperature": 0, "logprobs": 2}
    plain = server.client().completions.create(**asked)
    chunks = list(server.client().completions.create(**asked, stream=True))

    told = [choice for chunk in chunks for choice in chunk.choices]
    for choice in plain.choices:
        own = [each for each in told if each.index == choice.index]
        assert "".join(each.text for each in own) == choice.text
        assert [each.finish_reason for each in own if each.finish_reason] == [choice.finish_reason]
        assert choice.logprobs is not None
        tokens = [token for each in own if each.logprobs for token in each.logprobs.tokens or []]
        assert tokens == choice.logprobs.tokens
        offsets = [offset for each in own if each.logprobs for offset in each.logprobs.text_offset or []]
        assert offsets == choice.logprobs.text_offset
    assert [choice.index for choice in plain.choices] == [0, 1, 2, 3]
    assert len({choice.text for choice in plain.choices}) > 1


def test_tokens_join_to_the_text_where_the_offsets_say(server: RunningServer) -> None:
    choice = server.client().completions.create(**RAW, logprobs=5).choices[0]
    told = choice.logprobs
    assert told is not None
    assert told.tokens is not None
    assert told.text_offset is not None
    assert told.top_logprobs is not None
    assert told.token_logprobs is not None
    assert "".join(told.tokens) == choice.text
    for token, offset in zip(told.tokens, told.text_offset, strict=True):
        assert choice.text[offset:].startswith(token)
    for token, value, top in zip(told.tokens, told.token_logprobs, told.top_logprobs, strict=True):
        assert len(top) == 5
        assert max(top.values()) == top[token] == value


def test_a_raw_prompt_may_write_the_turns_itself(server: RunningServer) -> None:
    story: Any = [{"role": "user", "content": "Tell me a story."}]
    chat = server.client().chat.completions.create(model="demo", messages=story, temperature=0, max_tokens=12)
    raw = server.client().completions.create(**{**RAW, "prompt": TURN})
    assert raw.choices[0].text == chat.choices[0].message.content


@pytest.mark.parametrize("as_tokens", [False, True])
def test_echo_gives_the_prompt_back(server: RunningServer, as_tokens: bool) -> None:
    prompt = tokens_of(server, TURN) if as_tokens else TURN
    plain, echoed = (
        server.client().completions.create(**{**RAW, "prompt": prompt}, echo=echo).choices[0].text
        for echo in (False, True)
    )
    assert echoed == TURN + plain


def test_an_answer_obeys_a_regex(server: RunningServer) -> None:
    regex = "(yes|no), [0-9]{3}"
    free, obeying = (
        server.client().completions.create(**RAW, extra_body=body).choices[0] for body in ({}, {"regex": regex})
    )

    assert not re.fullmatch(regex, free.text)
    assert re.fullmatch(regex, obeying.text)
    assert obeying.finish_reason == "stop"


@pytest.mark.parametrize("text", ["Straße 日本語 🙂 naïve\n  two  spaces", TURN, "", "x"])
def test_tokens_go_there_and_back(server: RunningServer, text: str) -> None:
    answer = post(server, "/tokenize", content=text)
    assert answer["count"] == len(answer["tokens"])
    assert post(server, "/detokenize", tokens=answer["tokens"])["content"] == text


def test_control_tokens_are_one_token_or_plain_text(server: RunningServer) -> None:
    assert len(tokens_of(server, "<|im_end|>")) == 1
    plain = tokens_of(server, "<|im_end|>", parse_special=False)
    assert len(plain) > 1
    assert post(server, "/detokenize", tokens=plain)["content"] == "<|im_end|>"


def test_a_model_leaves_memory_when_its_ttl_is_over(server: RunningServer) -> None:
    server.client().completions.create(**{**RAW, "model": "echo"}, extra_body={"ttl": 0})
    limit = time.monotonic() + PATIENCE
    while "localrouter-echo" in names(server) and time.monotonic() < limit:
        time.sleep(0.02)  # another process offers no event to wait for
    assert "localrouter-echo" not in names(server)


def names(server: RunningServer) -> set[str]:
    return {model["model"] for model in server.get("/health/ready")["models"]}

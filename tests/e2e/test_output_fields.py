"""Fields that say where an output ends, what it obeys and what the response reports, through HTTP."""

import json
from typing import Any

import httpx
import pytest
from running_server import RunningServer

CHAT, TEXT = "/chat/completions", "/completions"
HI: dict[str, Any] = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}
TURNS = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
RAW: dict[str, Any] = {"model": "echo", "prompt": TURNS, "max_tokens": 12}
BODIES = pytest.mark.parametrize(("route", "body"), [(CHAT, HI), (TEXT, RAW)], ids=["chat", "completions"])


def post(server: RunningServer, route: str, body: dict[str, Any], **fields: Any) -> httpx.Response:
    """Return the response to a request, which has to be served."""
    answer = httpx.post(server.base_url + route, json={**body, **fields}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer


def output(answer: httpx.Response) -> tuple[str, str, int]:
    """Return the text of a response, its finish reason and its number of tokens."""
    body = answer.json()
    choice = body["choices"][0]
    text = choice["message"]["content"] if "message" in choice else choice["text"]
    return text, choice["finish_reason"], body["usage"]["completion_tokens"]


def chunks_of(answer: httpx.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


@BODIES
def test_where_an_output_ends(server: RunningServer, route: str, body: dict[str, Any]) -> None:
    assert output(post(server, route, body)) == ("hello", "stop", 6)
    assert output(post(server, route, body, min_tokens=7)) == ("hellohe", "stop", 8)
    assert output(post(server, route, body, ignore_eos=True, max_tokens=8)) == ("hellohel", "length", 8)
    assert output(post(server, route, body, stop_token_ids=[ord("l")])) == ("he", "stop", 3)
    assert output(post(server, route, body, stop=["@"] * 11 + ["lo"])) == ("hel", "stop", 5)


def test_a_model_goes_on_where_it_would_end(server: RunningServer) -> None:
    body = {**HI, "model": "demo", "temperature": 0, "max_tokens": 60}
    for fields in ({"ignore_eos": True}, {"min_tokens": 60}, {"ignore_eos": True, "n": 2, "reasoning_budget": 3}):
        answer = post(server, CHAT, body, **fields).json()
        assert [choice["finish_reason"] for choice in answer["choices"]] == ["length"] * len(answer["choices"])
        assert answer["usage"]["completion_tokens"] == 60 * len(answer["choices"])
    assert post(server, CHAT, body).json()["choices"][0]["finish_reason"] == "stop"


@BODIES
def test_every_chunk_has_the_usage_so_far(server: RunningServer, route: str, body: dict[str, Any]) -> None:
    final = post(server, route, body).json()["usage"]
    for options in ({"continuous_usage_stats": True}, {"continuous_usage_stats": True, "include_usage": True}):
        chunks = chunks_of(post(server, route, body, stream=True, stream_options=options))

        counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
        assert counts == sorted(counts)
        assert chunks[-1]["usage"]["total_tokens"] == final["total_tokens"]
        assert {chunk["usage"]["prompt_tokens"] for chunk in chunks} == {final["prompt_tokens"]}
        assert (chunks[-1]["choices"] == []) is ("include_usage" in options)


@BODIES
def test_timings_come_where_they_are_wanted(server: RunningServer, route: str, body: dict[str, Any]) -> None:
    assert "timings" not in post(server, route, body).json()
    whole = post(server, route, body, timings_per_token=True).json()
    chunks = chunks_of(post(server, route, body, timings_per_token=True, stream=True))

    assert whole["timings"]["predicted_n"] == chunks[-1]["timings"]["predicted_n"] == 6
    assert whole["timings"]["cache_n"] + whole["timings"]["prompt_n"] == whole["usage"]["prompt_tokens"]
    assert all("usage" not in chunk for chunk in chunks)
    counts = [chunk["timings"]["predicted_n"] for chunk in chunks]
    assert counts == sorted(counts)


def ignored(answer: httpx.Response) -> str:
    """Return the fields that a response names as ignored."""
    return str(answer.headers.get("x-localrouter-ignored", ""))


@BODIES
def test_options_that_ask_for_nothing_are_named(server: RunningServer, route: str, body: dict[str, Any]) -> None:
    assert ignored(post(server, route, body, stream_options={"include_usage": True})) == "stream_options"
    assert ignored(post(server, route, body, stop=["", ""])) == "stop"
    assert ignored(post(server, route, body, stop=["", "x"], min_tokens=0, ignore_eos=False)) == ""


@pytest.mark.parametrize("stream", [False, True])
def test_variables_that_the_template_does_not_read_are_named(server: RunningServer, stream: bool) -> None:
    fields = {"verbosity": "low", "chat_template_kwargs": {"mood": "calm"}, "stream": stream}

    assert ignored(post(server, CHAT, HI, **fields)) == "chat_template_kwargs.mood, verbosity"
    explained = post(server, f"{CHAT}/explain", HI, **fields)
    assert ignored(explained) == "chat_template_kwargs.mood, verbosity"
    assert [each["field"] for each in explained.json()["ignored"]] == ["chat_template_kwargs.mood", "verbosity"]


GBNF = r"""
root ::= "The " thing " of " [A-Z] [a-z]{2,8} (" (" root ")")? "."   # recursion
thing ::= "capital" | "language"
"""


def fits(text: str) -> bool:
    """Return whether a text is an output of `GBNF`: the recursion is undone from the inside."""
    head, _, rest = text.removesuffix(".").partition(" (")
    _, thing, _, place = head.split(" ")
    inner = rest.removesuffix(")")
    return thing in ("capital", "language") and place.isalpha() and place[0].isupper() and (not inner or fits(inner))


def test_outputs_obey_a_gbnf_grammar(server: RunningServer) -> None:
    for seed in range(4):
        fields = {"model": "demo", "grammar": GBNF, "max_tokens": 200, "seed": seed}
        texts = [
            output(post(server, CHAT, {**HI, **fields}, reasoning_effort="none")),
            output(post(server, TEXT, {"prompt": "Norway.", **fields})),
        ]
        assert all(fits(text) for text, reason, _ in texts if reason == "stop")


def test_a_gbnf_grammar_stands_beside_tools_and_reasoning(server: RunningServer) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    grammar = 'root ::= "yes" | "no" [!]+ "."'

    answer = post(server, CHAT, HI, model="demo", grammar=grammar, tools=[tool], reasoning_effort="low")

    message = answer.json()["choices"][0]["message"]
    assert message.get("tool_calls") or message["content"].rstrip("!.") in ("yes", "no")


def test_a_mistake_in_a_gbnf_grammar_is_named(server: RunningServer) -> None:
    answer = httpx.post(server.base_url + CHAT, json={**HI, "grammar": 'root ::= "a"\nother ::= missing'})

    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, "grammar", "invalid_grammar")
    assert error["message"].endswith("was read as GBNF: line 2: there is no rule 'missing'.")

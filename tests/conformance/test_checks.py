"""Every group of checks passes on a server that keeps all promises, and finds the one that breaks some."""

from collections.abc import Callable
from typing import Any

import pytest
from exemplary_server import MODEL, Refusal, exemplary_server

from localrouter.conformance.check import Check, Outcome
from localrouter.conformance.server import Server
from localrouter.conformance.suite import GROUPS, run, run_one

CHECKS = {check.name: check for group in GROUPS.values() for check in group.checks}


def outcomes(*names: str, **changes: Any) -> list[Outcome]:
    """How these checks end on a server with these changes."""
    with exemplary_server(**changes) as served, Server(served.base_url, "none", MODEL, 10) as server:
        return [run_one(CHECKS[name], server).outcome for name in names]


def without(*fields: str) -> Callable[[Any], Any]:
    """A server that drops fields of requests in silence."""
    return lambda body: {name: value for name, value in body.items() if name not in fields}


def edited(edit: Callable[[Any], object]) -> Callable[[Any], Any]:
    """A change that edits what passes; an answer that has another shape passes as it is."""

    def change(value: Any) -> Any:
        edit(value)
        return value

    return change


def refusing(field: str) -> Callable[[Any], Any]:
    """A server that says that it does not support a field."""

    def change(body: Any) -> Any:
        if field in body:
            raise Refusal(400, f"{field} is not supported", field)
        return body

    return change


def test_names_are_unique_and_every_check_tells_its_promise() -> None:
    every = [check for group in GROUPS.values() for check in group.checks]
    assert len(CHECKS) == len(every)
    assert [check.name for check in every if not check.promise] == []


def test_a_server_that_keeps_its_promises_passes_everything() -> None:
    with exemplary_server() as served, Server(served.base_url, "none", MODEL, 10) as server:
        others = [(result.check.name, result.reason) for result in run(server) if result.outcome != Outcome.PASSED]
    assert others == []


DROPPED = {
    "stream_options": ["usage comes last when it is asked for"],
    "max_tokens": ["max tokens holds", "a stream ends at max tokens", "a negative limit is refused"],
    "max_completion_tokens": ["max completion tokens holds", "both limits together are refused or both hold"],
    "temperature": [
        "a temperature over 2 is refused",
        "a negative temperature is refused",
        "a wrong type is 400 and named",
    ],
    "top_p": ["a top p over 1 is refused", "a negative top p is refused"],
    "stop": [
        "a stop text ends the answer",
        "a list of stops ends the answer",
        "a stop text is not in the answer",
        "a stop text is not in the stream",
        "five stops are refused",
    ],
    "n": [
        "n gives that many choices",
        "n streams that many choices",
        "usage counts all choices and the prompt once",
        "an n of 0 is refused",
    ],
    "logprobs": ["every token has its log probability", "bytes join to the text", "a stream has log probabilities"],
    "top_logprobs": [
        "top logprobs gives that many",
        "top logprobs without logprobs is refused",
        "top logprobs over 20 is refused",
    ],
    "logit_bias": [
        "a bias of 100 forces a token",
        "a bias over 100 is refused",
        "a bias for an unknown token is refused",
    ],
    "presence_penalty": ["a presence penalty over 2 is refused"],
    "frequency_penalty": ["a frequency penalty under minus 2 is refused"],
    "response_format": [
        "json object gives an object",
        "a strict schema gives its properties",
        "a strict schema holds an enum",
        "a strict schema holds inside objects",
        "a strict schema holds in a stream",
        "an invalid schema is refused",
        "an unknown format is refused",
    ],
    "tool_choice": [
        "a named function is called",
        "arguments follow their schema",
        "every call has an id of its own",
        "an answer with a required call ends with tool calls",
        "required makes a call",
        "streamed calls fold to the plain shape",
    ],
    "no_such_field": ["an unknown field is refused"],
}


@pytest.mark.parametrize("field", DROPPED)
def test_a_field_that_is_dropped_in_silence_is_found(field: str) -> None:
    assert set(outcomes(*DROPPED[field], requests=without(field))) == {Outcome.FAILED}


@pytest.mark.parametrize(
    "field", ["stop", "n", "logprobs", "logit_bias", "presence_penalty", "response_format", "tools"]
)
def test_a_field_that_is_refused_by_name_is_counted_apart(field: str) -> None:
    names = [check.name for check in CHECKS.values() if check.fields and check.fields[0] == field]
    assert set(outcomes(*names, requests=refusing(field))) == {Outcome.REFUSED}


def first(answer: Any) -> Any:
    return answer["choices"][0]


ANSWERS: dict[str, Callable[[Any], object]] = {
    "an answer has the shape of the sdk": lambda answer: answer.pop("created"),
    "an answer is named a chat completion": lambda answer: answer.update(object="text"),
    "every answer has an id of its own": lambda answer: answer.update(id="same"),
    "an answer says when it was made": lambda answer: answer.update(created=0),
    "an answer names its model": lambda answer: answer.update(model=""),
    "an answer has one choice of the assistant": lambda answer: first(answer)["message"].update(role="user"),
    "content is text": lambda answer: first(answer)["message"].update(content=["a"]),
    "an answer ends with stop or length": lambda answer: first(answer).update(finish_reason="eos"),
    "usage adds up": lambda answer: answer["usage"].update(total_tokens=1),
    "a longer prompt has more tokens": lambda answer: answer["usage"].update(prompt_tokens=1),
    "a system message is read": lambda answer: answer["usage"].update(prompt_tokens=1),
    "a long conversation is read whole": lambda answer: answer["usage"].update(prompt_tokens=1),
    "control tokens in content are text": lambda answer: answer["usage"].update(prompt_tokens=1),
    "temperature 0 repeats itself": lambda answer: first(answer)["message"].update(content=answer["id"]),
    "a seed repeats itself": lambda answer: first(answer)["message"].update(content=answer["id"]),
    "none makes no call": lambda answer: first(answer)["message"].update(tool_calls=[{"id": "1"}]),
    "one call at most without parallel calls": lambda answer: first(answer)["message"].update(tool_calls=[{}, {}]),
    "models are listed": lambda answer: answer.update(object="models"),
    "usage says what was cached": lambda answer: answer["usage"].pop("prompt_tokens_details"),
    "usage says what was reasoning": lambda answer: answer["usage"].pop("completion_tokens_details"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_wrong_answer_is_found(name: str) -> None:
    assert outcomes(name, answers=edited(ANSWERS[name])) == [Outcome.FAILED]


STREAMS: dict[str, Callable[[Any], object]] = {
    "chunks have the shape of the sdk": lambda chunks: chunks[1].pop("model"),
    "chunks have one id and one time": lambda chunks: chunks[1].update(id="another"),
    "the first delta has the role": lambda chunks: first(chunks[0])["delta"].pop("role"),
    "one chunk has the finish reason": lambda chunks: first(chunks[0]).update(finish_reason="stop"),
    "usage is null before": lambda chunks: chunks[0].pop("usage"),
    "no usage comes unasked": lambda chunks: chunks[0].update(usage={"total_tokens": 1}),
    "a stream says what a plain answer says": lambda chunks: first(chunks[1])["delta"].update(content="else"),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_wrong_stream_is_found(name: str) -> None:
    assert outcomes(name, streams=edited(STREAMS[name])) == [Outcome.FAILED]


def test_a_bias_without_its_sign_is_found() -> None:
    def change(body: Any) -> Any:
        return {**body, "logit_bias": {token: abs(bias) for token, bias in body["logit_bias"].items()}}

    assert outcomes("a bias of minus 100 bans a token", requests=change) == [Outcome.FAILED]


def test_a_stream_without_done_is_found() -> None:
    assert outcomes("a stream ends with done", last="") == [Outcome.FAILED]


@pytest.mark.parametrize(
    "name",
    [name for name, check in CHECKS.items() if check.group == "errors" and name != "an unknown field is refused"],
)
def test_an_error_of_another_kind_is_found(name: str) -> None:
    assert outcomes(name, errors=lambda _: (500, {"detail": "no"})) == [Outcome.FAILED]


def test_nobody_who_answers_is_a_failure_and_not_the_end() -> None:
    def check(server: Server) -> None:
        server.ask()

    with Server("http://127.0.0.1:1/v1", "none", MODEL, 5) as server:
        result = run_one(Check("group", check, ("n",)), server)
    assert result.outcome == Outcome.FAILED
    assert "no whole answer came" in result.reason

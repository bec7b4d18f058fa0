"""What a server may do and still pass: the reference does not forbid it."""

from typing import Any

import pytest
from broken_promises import first
from exemplary_rules import MODEL
from exemplary_server import exemplary_server
from test_checks import CHECKS, edited

from localrouter.conformance.check import CheckOutcome
from localrouter.conformance.server_under_test import ServerUnderTest
from localrouter.conformance.suite import run_one


def outcome(name: str, **changes: Any) -> CheckOutcome:
    """How a check ends on a server with these changes."""
    with exemplary_server(**changes) as served, ServerUnderTest(served.base_url, "none", MODEL, 10) as server:
        return run_one(CHECKS[name], server).outcome


def says_who_it_is(body: Any) -> Any:
    """As the template of Qwen 2.5 does: a system message of its own stands where none was sent."""
    if any(message["role"] in ("system", "developer") for message in body["messages"]):
        return body
    own = {"role": "system", "content": "You are a model that somebody made, and a helpful assistant. " * 60}
    return {**body, "messages": [own, *body["messages"]]}


@pytest.mark.parametrize(
    "name",
    [
        "a system message is read",
        "a developer message is read",
        "several system messages are read",
        "parts of an assistant are read",
        "a long conversation is read whole",
    ],
)
def test_a_template_may_have_a_system_message_of_its_own(name: str) -> None:
    assert outcome(name, requests=says_who_it_is) == CheckOutcome.PASSED


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_system_message_that_is_dropped_is_found_all_the_same(role: str) -> None:
    def change(body: Any) -> Any:
        return {**body, "messages": [message for message in body["messages"] if message["role"] != role]}

    assert outcome(f"a {role} message is read", requests=change) == CheckOutcome.FAILED


def test_a_conversation_that_loses_its_beginning_is_found() -> None:
    def change(body: Any) -> Any:
        return says_who_it_is({**body, "messages": body["messages"][-30:]})

    assert outcome("a long conversation is read whole", requests=change) == CheckOutcome.FAILED


def test_the_details_of_usage_may_be_missing() -> None:
    def change(answer: Any) -> None:
        del answer["usage"]["completion_tokens_details"]

    assert outcome("reasoning is counted", answers=edited(change)) == CheckOutcome.UNDECIDED


@pytest.mark.parametrize("name", ["temperature 0 repeats itself", "a tiny top p repeats itself"])
def test_rounding_may_decide_otherwise_once(name: str) -> None:
    answers: list[Any] = []

    def change(answer: Any) -> None:
        answers.append(answer)
        if len(answers) == 1:
            first(answer)["message"].update(content="something else")

    assert outcome(name, answers=edited(change)) == CheckOutcome.PASSED


@pytest.mark.parametrize(
    "name",
    ["max tokens holds", "max completion tokens holds", "usage counts all choices and the prompt once"],
)
def test_a_model_that_once_ends_by_itself_is_asked_again(name: str) -> None:
    answers: list[Any] = []

    def change(answer: Any) -> None:
        answers.append(answer)
        if len(answers) <= 2:
            first(answer).update(finish_reason="stop")

    assert outcome(name, answers=edited(change)) == CheckOutcome.PASSED


def test_a_stream_that_once_ends_by_itself_is_asked_for_again() -> None:
    streams: list[Any] = []

    def change(chunks: Any) -> None:
        streams.append(chunks)
        for chunk in chunks if len(streams) == 1 else []:
            for choice in chunk["choices"]:
                choice["finish_reason"] = choice["finish_reason"] and "stop"

    assert outcome("a stream ends at max tokens", streams=edited(change)) == CheckOutcome.PASSED
    streams.clear()
    assert outcome("usage of a stream counts all choices", streams=edited(change)) == CheckOutcome.PASSED


def test_an_end_that_says_nothing_need_not_count() -> None:
    def change(answer: Any) -> None:
        first(answer).update(text="", finish_reason="stop")
        prompt = answer["usage"]["prompt_tokens"]
        answer["usage"].update(completion_tokens=0, total_tokens=prompt)

    assert outcome("a completion adds up", answers=edited(change)) == CheckOutcome.PASSED

"""Every group of checks passes on a server that keeps all promises, and finds the one that breaks some."""

from collections.abc import Callable
from typing import Any

import pytest
from broken_promises import ANSWERS, DROPPED, STREAMS, first
from exemplary_rules import MODEL, Refusal
from exemplary_server import exemplary_server

from localrouter.conformance.check import Broken, Check, CheckOutcome, thrice
from localrouter.conformance.exemptions import EXEMPTIONS, exemptions_of
from localrouter.conformance.server_under_test import ServerUnderTest
from localrouter.conformance.suite import GROUPS, chosen, run, run_one

CHECKS = {check.name: check for group in GROUPS.values() for check in group.checks}


def outcomes(*names: str, **changes: Any) -> list[CheckOutcome]:
    """How these checks end on a server with these changes."""
    with exemplary_server(**changes) as served, ServerUnderTest(served.base_url, "none", MODEL, 10) as server:
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


def rejecting(field: str) -> Callable[[Any], Any]:
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
    with exemplary_server() as served, ServerUnderTest(served.base_url, "none", MODEL, 10) as server:
        others = [
            (result.check.name, result.reason)
            for result in run(server, chosen())
            if result.outcome != CheckOutcome.PASSED
        ]
    assert others == []


def test_every_check_shows_what_was_asked_last_and_what_came() -> None:
    with exemplary_server() as served, ServerUnderTest(served.base_url, "none", MODEL, 10) as server:
        dumb = [result.check.name for result in run(server, chosen()) if not (result.asked and result.came)]
    assert dumb == []


@pytest.mark.parametrize("field", DROPPED)
def test_a_field_that_is_dropped_in_silence_is_found(field: str) -> None:
    assert set(outcomes(*DROPPED[field], requests=without(field))) == {CheckOutcome.FAILED}


@pytest.mark.parametrize(
    "field", ["stop", "n", "logprobs", "logit_bias", "presence_penalty", "response_format", "tools"]
)
def test_a_field_that_is_rejected_by_name_is_counted_apart(field: str) -> None:
    names = [check.name for check in CHECKS.values() if check.fields and check.fields[0] == field]
    assert set(outcomes(*names, requests=rejecting(field))) == {CheckOutcome.REJECTED}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_wrong_answer_is_found(name: str) -> None:
    assert outcomes(name, answers=edited(ANSWERS[name])) == [CheckOutcome.FAILED]


@pytest.mark.parametrize("name", STREAMS)
def test_a_wrong_stream_is_found(name: str) -> None:
    assert outcomes(name, streams=edited(STREAMS[name])) == [CheckOutcome.FAILED]


def test_a_bias_without_its_sign_is_found() -> None:
    def change(body: Any) -> Any:
        return {**body, "logit_bias": {token: abs(bias) for token, bias in body["logit_bias"].items()}}

    assert outcomes("a bias of minus 100 bans a token", requests=change) == [CheckOutcome.FAILED]


def test_a_ban_shows_nothing_where_biases_are_dropped() -> None:
    assert outcomes("a bias of minus 100 bans a token", requests=without("logit_bias")) == [CheckOutcome.UNDECIDED]


def test_null_is_sent_for_every_field_that_may_be_null() -> None:
    sent: list[Any] = []
    assert outcomes("null is a default", requests=edited(sent.append)) == [CheckOutcome.PASSED]
    assert {"temperature", "n", "stop", "stream"} <= {name for name, value in sent[0].items() if value is None}


def test_a_stream_without_done_is_found() -> None:
    assert outcomes("a stream ends with done", last="") == [CheckOutcome.FAILED]


@pytest.mark.parametrize(
    "name",
    [name for name, check in CHECKS.items() if check.group == "errors" and name != "an unknown field is rejected"],
)
def test_an_error_of_another_kind_is_found(name: str) -> None:
    assert outcomes(name, errors=lambda _: (500, {"detail": "no"})) == [CheckOutcome.FAILED]


def test_what_compares_answers_is_tried_three_times() -> None:
    """Rounding may decide otherwise once in a while; who breaks the promise breaks it each time."""
    tries: list[ServerUnderTest] = []

    def breaks(times: int) -> None:
        tries.clear()

        def check(server: ServerUnderTest) -> None:
            tries.append(server)
            if len(tries) <= times:
                raise Broken(f"try {len(tries)}")

        with exemplary_server() as served, ServerUnderTest(served.base_url, "none", MODEL, 10) as server:
            thrice(check)(server)

    breaks(2)
    assert len(tries) == 3
    with pytest.raises(Broken, match="try 3"):
        breaks(3)


def test_an_answer_that_depends_on_others_is_found() -> None:
    asked = []

    def change(answer: Any) -> Any:
        asked.append(answer)
        first(answer)["message"]["content"] = "alone" if len(asked) <= 12 else "in company"
        return answer

    assert outcomes("a seed repeats itself beside others", answers=change) == [CheckOutcome.FAILED]


@pytest.mark.parametrize("name", [name for name, check in CHECKS.items() if check.group == "fields"])
def test_a_field_that_breaks_a_server_is_found(name: str) -> None:
    def fail(_: Any) -> Any:
        raise Refusal(500, "something broke")

    assert outcomes(name, requests=fail) == [CheckOutcome.FAILED]


def refused_with(words: str, param: str | None = None, status: int = 400) -> Callable[[Any], Any]:
    """A server that rejects everything with these words."""

    def refuse(_: Any) -> Any:
        raise Refusal(status, words, param)

    return refuse


@pytest.mark.parametrize(
    ("name", "words", "outcome"),
    [
        ("n gives that many choices", "something is not in order", CheckOutcome.FAILED),
        ("n gives that many choices", "`n` must be 1", CheckOutcome.REJECTED),
        ("a stream ends with done", "streaming is not supported", CheckOutcome.REJECTED),
        ("a stream ends with done", "upstream has gone", CheckOutcome.FAILED),
        ("four stops are taken", "we support no stop_sequences, or stops", CheckOutcome.REJECTED),
    ],
)
def test_a_field_is_named_by_a_word_and_not_by_some_letters(name: str, words: str, outcome: CheckOutcome) -> None:
    assert outcomes(name, requests=refused_with(words)) == [outcome]


@pytest.mark.parametrize(
    ("name", "param", "outcome"),
    [
        ("content is text", "max_tokens", CheckOutcome.REJECTED),
        ("a stop text ends the answer", "temperature", CheckOutcome.REJECTED),
        ("content is text", "messages", CheckOutcome.FAILED),
        ("content is text", "seed", CheckOutcome.FAILED),
        ("null is a default", "logit_bias", CheckOutcome.FAILED),
    ],
)
def test_a_field_that_a_check_needs_may_be_rejected_too(name: str, param: str, outcome: CheckOutcome) -> None:
    assert outcomes(name, requests=refused_with("this model does not take it", param)) == [outcome]


def test_a_server_without_the_legacy_api_is_counted_as_refusing_it() -> None:
    def change(body: Any) -> Any:
        if "prompt" in body:
            raise Refusal(404, "nothing is here")
        return body

    names = [check.name for check in CHECKS.values() if check.fields[:1] == ("completions",)]
    assert set(outcomes(*names, requests=change)) == {CheckOutcome.REJECTED}


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ('{"ok": tr', CheckOutcome.UNDECIDED),
        (" {  \n\n", CheckOutcome.UNDECIDED),
        ("", CheckOutcome.UNDECIDED),
        ('{"ok": "tr', CheckOutcome.FAILED),
        ('{"no": tr', CheckOutcome.FAILED),
        ("Sure! {", CheckOutcome.FAILED),
        ('{"ok": true}', CheckOutcome.PASSED),
        ('{"ok": 1}', CheckOutcome.FAILED),
    ],
)
def test_an_answer_that_was_cut_is_judged_by_its_beginning(text: str, outcome: CheckOutcome) -> None:
    def change(answer: Any) -> Any:
        first(answer).update(finish_reason="length", message={"role": "assistant", "content": text})
        return answer

    assert outcomes("a strict schema gives its properties", answers=change) == [outcome]


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ('{"abc', CheckOutcome.PASSED),
        ("{", CheckOutcome.UNDECIDED),
        ('{"abc" no', CheckOutcome.FAILED),
        ("[1, 2", CheckOutcome.UNDECIDED),
    ],
)
def test_a_cut_object_shows_itself_by_its_first_key(text: str, outcome: CheckOutcome) -> None:
    def change(answer: Any) -> Any:
        first(answer).update(finish_reason="length", message={"role": "assistant", "content": text})
        return answer

    assert outcomes("json object gives an object", answers=change) == [outcome]


def test_a_server_that_hangs_is_given_the_time_of_a_check_and_then_up() -> None:
    def hang(_: Any) -> Any:
        raise BlockingIOError

    checks = GROUPS["basics"].checks
    with exemplary_server(requests=hang) as served, ServerUnderTest(served.base_url, "none", MODEL, 0.2) as server:
        found = [result.outcome for result in run(server, checks)]
    assert found == [CheckOutcome.FAILED] * 3 + [CheckOutcome.NOT_RUN] * (len(checks) - 3)


@pytest.mark.parametrize("name", ["a stream ends with done", "the sdk reads the stream", "a missing field is 400"])
def test_an_answer_that_drips_for_ever_is_ended_by_the_time_of_a_check(name: str) -> None:
    with exemplary_server(drips=True) as served, ServerUnderTest(served.base_url, "none", MODEL, 0.3) as server:
        result = run_one(CHECKS[name], server)
    assert (result.outcome, result.reason, result.silent) == (
        CheckOutcome.FAILED,
        "no whole answer came in time",
        True,
    )


@pytest.mark.parametrize("page", ["<html>Welcome!</html>", "", "null", "[" * 100_000])
def test_pages_that_are_no_answers_fail_every_check(page: str) -> None:
    checks = [check for check in chosen() if check.name != "a stream is an event stream"]
    with exemplary_server(page=page) as served, ServerUnderTest(served.base_url, "none", MODEL, 10) as server:
        found = [(result.check.name, result.outcome) for result in run(server, checks)]
    assert [name for name, outcome in found if outcome != CheckOutcome.FAILED] == []


def test_nobody_who_answers_is_a_failure_and_not_the_end() -> None:
    def check(server: ServerUnderTest) -> None:
        server.ask()

    with ServerUnderTest("http://127.0.0.1:1/v1", "none", MODEL, 5) as server:
        result = run_one(Check("group", check, ("n",)), server)
    assert result.outcome == CheckOutcome.FAILED
    assert "no whole answer came" in result.reason


@pytest.mark.parametrize(
    ("owner", "outcome"), [("localrouter", CheckOutcome.EXEMPT), ("somebody else", CheckOutcome.FAILED)]
)
def test_only_localrouter_may_accept_more_than_the_reference(owner: str, outcome: CheckOutcome) -> None:
    def rename(answer: Any) -> Any:
        for model in answer.get("data", []):
            model["owned_by"] = owner
        return answer

    def shorten(request: Any) -> Any:
        return {**request, "stop": request["stop"][:4]} if request.get("stop") else request

    changed = exemplary_server(answers=rename, requests=shorten)
    with changed as served, ServerUnderTest(served.base_url, "none", MODEL, 10) as server:
        [result] = run(server, [CHECKS["five stops are rejected"]], exemptions_of(server))
    assert result.outcome is outcome
    assert bool(result.reason == EXEMPTIONS["five stops are rejected"]) is (outcome is CheckOutcome.EXEMPT)


def test_every_exemption_is_of_a_check() -> None:
    assert EXEMPTIONS.keys() <= CHECKS.keys()

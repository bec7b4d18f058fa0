"""Schemas, patterns and grammars that are meant to do harm: refused at once, and nobody else notices."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
from running_server import PATIENCE, RunningServer, serving
from test_faults import eventually

MODEL = "slow=builtin:echo?step_ms=5"
LONG = "a long message that takes a while to say " * 15
DEADLINE = 30.0
"""Seconds in which a refusal has to come; it takes two."""


@pytest.fixture(scope="module")
def busy() -> Iterator[RunningServer]:
    with serving("--model", MODEL) as running:
        yield running


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


def form(schema: dict[str, Any], *, strict: bool = True) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"schema": schema, "strict": strict}}}


def tool(schema: dict[str, Any], *, strict: bool = True) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": schema, "strict": strict}}]}


def chain(length: int) -> str:
    """Rules that each refer to the next; to compile them takes a stack of several megabytes."""
    rules = "\n".join(f"x{number}: x{number + 1}" for number in range(length))
    return f'start: x0\n{rules}\nx{length}: "a"'


def all_of(count: int) -> dict[str, Any]:
    """A string that matches all of so many patterns; to compile it takes time exponential in their number."""
    return {"type": "string", "allOf": [{"pattern": f".*a{number}.*"} for number in range(count)]}


MANY = {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(10_000)}}
ALL_MAY_BE_EMPTY = "start: " + "x " * 50_000 + '\nx: "a"?'
ALTERNATIVES = "start: " + " | ".join(f'"w{number}" x' for number in range(40_000)) + "\nx: /[a-z]+/"
HOSTILE: dict[str, tuple[dict[str, Any], str | None]] = {
    "10,000 properties": (form(MANY), "response_format.json_schema.schema"),
    "10,000 properties of a function": (tool(MANY), "tools[0].function.parameters"),
    "100 objects in each other": (form(nested(100)), None),  # as a body it is nested too deep already
    "brackets without end": ({"regex": "(" * 3000 + "a" + ")" * 3000}, "regex"),
    "a grammar of 50,000 symbols that may all be empty": ({"grammar": ALL_MAY_BE_EMPTY}, "grammar"),
    "a grammar of 40,000 alternatives": ({"grammar": ALTERNATIVES}, "grammar"),
    "a grammar nested 20,000 times": ({"grammar": "start: " + "(" * 20_000 + '"a"' + ")" * 20_000}, "grammar"),
    "a terminal that is part of itself": ({"grammar": 'start: A\nA: A "x"'}, "grammar"),
    "a chain of 9,000 rules": ({"grammar": chain(9_000)}, "grammar"),
    "thirty patterns that must all match": (form(all_of(30)), "response_format"),
    "no grammar at all": ({"grammar": "start: foo bar("}, "grammar"),
}
"""What is asked for, and the field that the refusal names."""
LOOSE: dict[str, tuple[dict[str, Any], str]] = {
    "10,000 properties": (form(MANY, strict=False), "response_format.json_schema.schema"),
    "thirty patterns that must all match": (
        tool({"type": "object", "properties": {"a": all_of(30)}}, strict=False),
        "tools[0].function.parameters",
    ),
}
"""Schemas that are not strict, and the part that the response names as not enforced."""


def body(text: str = "hi", **fields: Any) -> dict[str, Any]:
    return {"model": "slow", "messages": [{"role": "user", "content": text}], **fields}


class Listener(threading.Thread):
    """Reads one stream after the other beside the test, and tells how far it is."""

    def __init__(self, server: RunningServer) -> None:
        super().__init__()
        self.url = f"{server.base_url}/chat/completions"
        self.text = ""
        self.has_begun = threading.Event()
        self.is_enough = threading.Event()

    def run(self) -> None:
        while not self.is_enough.is_set():
            self.read()

    def read(self) -> None:
        with httpx.stream("POST", self.url, json=body(LONG, stream=True), timeout=PATIENCE) as response:
            for line in response.iter_lines():
                if line.startswith("data: {"):
                    self.text += json.loads(line.removeprefix("data: "))["choices"][0]["delta"].get("content") or ""
                    self.has_begun.set()


@contextmanager
def listening(server: RunningServer) -> Iterator[Listener]:
    """Have streams run beside what happens here, each to its end."""
    listener = Listener(server)
    listener.start()
    assert listener.has_begun.wait(PATIENCE)
    try:
        yield listener
    finally:
        listener.is_enough.set()
        listener.join()


@pytest.mark.slow
def test_all_are_refused_while_a_stream_goes_on(busy: RunningServer) -> None:
    url = f"{busy.base_url}/chat/completions"
    refused: dict[str, str | None] = {}
    grown: list[int] = []
    with listening(busy) as listener:
        for name, (fields, _) in HOSTILE.items():
            before = len(listener.text)
            response = httpx.post(url, json=body(**fields), timeout=DEADLINE)
            assert response.status_code == 400, (name, response.text)
            refused[name] = response.json()["error"]["param"]
            grown.append(len(listener.text) - before)
        bomb = body("ab" * 80, regex=r"(?:.|\n)*a(?:.|\n){300}b(?:.|\n){300}")
        answer = httpx.post(url, json=bomb, timeout=PATIENCE)
        assert answer.status_code == 200 or answer.json()["error"]["code"].startswith("grammar_"), answer.text

    assert refused == {name: param for name, (_, param) in HOSTILE.items()}
    assert max(grown) > 20  # the costliest takes two seconds to be refused
    assert listener.text == LONG * (len(listener.text) // len(LONG))


@pytest.mark.slow
@pytest.mark.parametrize("name", LOOSE)
def test_loose_schemas_that_are_too_large_are_answered_without_them(busy: RunningServer, name: str) -> None:
    fields, part = LOOSE[name]
    url = f"{busy.base_url}/chat/completions"
    for seconds in (DEADLINE, 5.0):  # the second time the refused grammar is cached
        answer = httpx.post(url, json=body("{}", **fields, max_tokens=8), timeout=seconds)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-localrouter-not-enforced"] == part


def test_of_clients_that_leave_while_their_grammar_compiles_nothing_is_left(busy: RunningServer) -> None:
    url = f"{busy.base_url}/chat/completions"
    httpx.post(url, json=body(max_tokens=1, regex=".*"), timeout=PATIENCE).raise_for_status()
    [worker] = busy.workers()
    idle = {"running": 0, "waiting": 0, "cells_used": 0, "in_flight": 0, "starts": 1}
    before = worker.num_fds()

    for number in range(4):  # each is compiled anew, and lets the model say what it says
        large = {"type": "object", "properties": {f"p{number}_{each}": {} for each in range(1800)}}
        grammar = f"start: /(?s:.*)/ | large\nlarge: %json {json.dumps(large)}"
        with suppress(httpx.TimeoutException):
            httpx.post(url, json=body(LONG, grammar=grammar), timeout=0.1)
            pytest.fail("it was compiled and followed before the client could leave")

    name = "localrouter-echo?step_ms=5"
    assert eventually(lambda: {key: busy.engine(name)[key] for key in idle} == idle), busy.engine(name)
    assert worker.num_fds() == before

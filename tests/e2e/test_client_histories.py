"""Histories that clients send after an interruption, and in the forms of other APIs, through a real server."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from running_server import RunningServer, serving

CALL = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Oslo"}'}}
ASKED = {"role": "user", "content": "What is the weather in Oslo?"}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with serving() as server:
        yield server


def explained(server: RunningServer, messages: list[dict[str, Any]]) -> Any:
    body = {"model": "demo", "messages": messages, "tools": TOOLS}
    answer = httpx.post(f"{server.base_url}/chat/completions/explain", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_an_interrupted_call_is_shown_with_a_result_that_says_so(server: RunningServer) -> None:
    told = explained(server, [ASKED, CALLED, {"role": "user", "content": "Never mind."}])

    assert [step["what"] for step in told["steps"]] == ["added_result"]
    assert told["prompt"].index("No result was recorded for this call.") < told["prompt"].index("Never mind.")


def test_ollamas_form_of_a_call_and_its_result_is_the_same_prompt(server: RunningServer) -> None:
    called = {"role": "assistant", "tool_calls": [{"function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}]}
    theirs = explained(
        server, [ASKED, called, {"role": "tool", "tool_name": "get_weather", "content": {"sky": "clear"}}]
    )

    ours = explained(server, [ASKED, CALLED, {"role": "tool", "tool_call_id": "c1", "content": '{"sky":"clear"}'}])

    assert theirs["prompt"] == ours["prompt"]
    assert [step["what"] for step in theirs["steps"]] == ["matched_result", "result_as_json"]


def test_annotations_are_named_in_the_response(server: RunningServer) -> None:
    messages = [{**ASKED, "id": 1}, {"role": "assistant", "content": "Sunny.", "thinking_blocks": []}, ASKED]
    body = {"model": "demo", "messages": messages, "max_tokens": 1}

    answer = httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=60)

    assert answer.status_code == 200
    assert answer.headers["x-localrouter-ignored"] == "messages[].id"

"""Each request among the examples of docs/api.md is answered, with the fields that the page shows below it."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from running_server import PATIENCE, RunningServer

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+) (request|response)(?: POST (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXACT = {"object", "role", "type", "finish_reason", "name", "index", "model", "source"}
"""Fields whose value does not depend on sampling: the real one equals the shown one."""


@dataclass(frozen=True)
class Example:
    """A request of the page and the response that is shown for it."""

    path: str
    request: str
    response: str


def examples_of(page: str) -> list[Example]:
    """Pair each request of a page with the response behind it. Raises ValueError where they do not alternate."""
    fences = FENCE.findall(page)
    kinds = [kind for _, kind, _, _ in fences]
    if kinds != ["request", "response"] * (len(fences) // 2):
        raise ValueError(f"requests and responses do not alternate: {kinds}")
    pairs = zip(fences[::2], fences[1::2], strict=True)
    return [Example(path, body, response) for (_, _, path, body), (_, _, _, response) in pairs]


def differences(shown: Any, real: Any, place: str = "") -> list[str]:
    """Name each part of the shown JSON that the real one lacks, or has with another type or another fixed value."""
    if isinstance(shown, dict):
        if not isinstance(real, dict):
            return [f"{place} is no object"]
        missing = [f"{place}.{key} is missing" for key in shown.keys() - real.keys()]
        shared = [key for key in shown if key in real]
        return missing + [text for key in shared for text in differences(shown[key], real[key], f"{place}.{key}")]
    if isinstance(shown, list):
        if not isinstance(real, list) or (bool(shown) != bool(real)):
            return [f"{place} is another kind of array"]
        if not all(isinstance(item, dict) for item in shown):
            return differences(shown[0], real[0], f"{place}[0]") if shown else []
        if len(shown) > len(real):
            return [f"{place} has only {len(real)} items"]
        pairs = enumerate(zip(shown, real, strict=False))
        return [text for index, pair in pairs for text in differences(*pair, f"{place}[{index}]")]
    is_other = shown != real if place.rpartition(".")[2] in EXACT else type(shown) is not type(real)
    return [f"{place} is {real!r} and not {shown!r}"] if is_other else []


def events_of(stream: str) -> list[Any]:
    """The chunks of a stream. It has to end with [DONE]."""
    *chunks, done = re.findall(r"^data: (.*)$", stream, re.MULTILINE)
    assert done == "[DONE]"
    return [json.loads(chunk) for chunk in chunks]


def stream_differences(shown: list[Any], real: list[Any]) -> list[str]:
    """Name each shown event that does not come in the real stream, behind the event that was found before it."""
    rest = iter(real)
    return [f"no event like {event}" for event in shown if all(differences(event, each) for each in rest)]


EXAMPLES = examples_of(PAGE)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example.path} {example.request[:60]!r}")
def test_an_example_is_answered_as_shown(server: RunningServer, example: Example) -> None:
    url = server.base_url.removesuffix("/v1") + example.path
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(url, content=example.request, headers=headers, timeout=PATIENCE)
    assert answer.status_code == httpx.codes.OK, answer.text
    if example.response.startswith("data: "):
        assert stream_differences(events_of(example.response), events_of(answer.text)) == []
    else:
        assert differences(json.loads(example.response), answer.json()) == []


def test_the_page_has_an_example_of_every_feature() -> None:
    requests = [json.loads(example.request) for example in EXAMPLES]
    features = {"stream", "response_format", "regex", "grammar", "tools", "reasoning_effort", "logprobs", "n", "stop"}
    assert features <= {key for request in requests for key in request}
    assert {example.path for example in EXAMPLES} == {
        "/v1/chat/completions",
        "/v1/chat/completions/explain",
        "/v1/chat/completions/input_tokens",
        "/v1/completions",
        "/tokenize",
        "/detokenize",
    }


def test_a_request_without_a_response_is_an_error() -> None:
    request = '```json request POST /tokenize\n{"model": "demo"}\n```\n'
    with pytest.raises(ValueError, match="do not alternate"):
        examples_of(request)
    with pytest.raises(ValueError, match="do not alternate"):
        examples_of(request + request + "```json response\n{}\n```\n")


def test_a_field_that_is_not_there_is_found() -> None:
    real = {"object": "list", "data": [{"id": "a"}], "usage": None}
    assert differences({"object": "list", "data": [{"id": "b"}]}, real) == []
    assert differences({"object": "chat"}, real) == [".object is 'list' and not 'chat'"]
    assert differences({"data": [{"name": "a"}]}, real) == [".data[0].name is missing"]
    assert differences({"usage": {}}, real) == [".usage is no object"]
    assert differences({"data": [{"id": 1}]}, real) == [".data[0].id is 'a' and not 1"]
    assert stream_differences([real, {"object": "list"}], [real]) == ["no event like {'object': 'list'}"]

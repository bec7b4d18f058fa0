"""A real server: names of models, facts before a model is loaded, and defaults of an alias."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from running_server import PATIENCE, RunningServer, serving

OWN = """
version = 1
[models.demo]
system = "You are brief."
context = 1024
[models.demo.sampling]
temperature = 0
top_k = 40
"""
QUESTION = {"messages": [{"role": "user", "content": "What is the capital of Norway?"}]}


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server whose only model is `demo`, with settings of the user's own manifest."""
    folder: Path = tmp_path_factory.mktemp("config")
    (folder / "localrouter").mkdir()
    (folder / "localrouter" / "model_manifest.toml").write_text(OWN)
    with serving("--echo-model-name", XDG_CONFIG_HOME=str(folder)) as running:
        yield running


def post(server: RunningServer, path: str, body: dict[str, Any]) -> Any:
    return httpx.post(f"{server.base_url}{path}", json=body, timeout=PATIENCE).raise_for_status().json()


def test_what_is_listed_before_a_model_is_loaded_holds_afterwards(own_server: RunningServer) -> None:
    before = own_server.get("/v1/models")["data"][0]
    assert (before["status"], before["device"], own_server.workers()) == ("available", None, [])
    answer = post(own_server, "/chat/completions", QUESTION)
    after = own_server.get("/v1/models/OpenAI/Demo:latest")
    assert (answer["model"], after["status"], after["id"]) == ("demo", "ready", "demo")
    for field in ("context_length", "max_model_len", "architecture", "capabilities", "size"):
        assert before[field] == after[field]
    assert (after["context_length"], after["capabilities"]) == (1024, ["completion", "tools", "reasoning"])


def test_the_defaults_of_the_alias_are_in_effect(own_server: RunningServer) -> None:
    found = post(own_server, "/chat/completions/explain", {**QUESTION, "model": "DEMO", "top_k": 3})
    assert (found["model"], found["alias_defaults"]) == ("DEMO", ["temperature", "system"])
    assert (found["sampling"]["temperature"], found["sampling"]["top_k"]) == (0, 3)
    assert (found["steps"][0]["what"], "You are brief." in found["prompt"]) == ("alias_system", True)
    answers = {post(own_server, "/chat/completions", QUESTION)["choices"][0]["message"]["content"] for _ in range(3)}
    assert len(answers) == 1

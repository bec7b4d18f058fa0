"""Model files without a chat template, from the command line to the answer: the fallback is named, its turns end."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bare_models import NEXT_TURN, WORD, number_of, write_bare_model
from running_server import RunningServer, serving

from localrouter.gguf.turn_format import DELIMITERS, TurnFormat

FORMATS: list[TurnFormat] = ["chatml", "gemma4", "gemma", "plain"]
PROMPTS = {
    "chatml": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "gemma4": "<|turn>user\nHi<turn|>\n<|turn>model\n",
    "gemma": "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n",
    "plain": "User:\nHi\n\nAssistant:\n",
}
HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder: Path = tmp_path_factory.mktemp("bare")
    return [word for turns in FORMATS for word in ("--model", f"{turns}={write_bare_model(folder, turns)}")]


@pytest.fixture(scope="module")
def server(entries: list[str]) -> Iterator[RunningServer]:
    with serving(*entries, "--threads", "1", "--extra-buffers", "off", "--max-loaded", "4") as server:
        yield server


def body(turns: TurnFormat) -> dict[str, object]:
    """A request that has the model say a word, some times over, and then what ends its turn."""
    end = DELIMITERS[turns].end if turns in DELIMITERS else NEXT_TURN
    bias = {str(number_of(WORD, turns)): 100, str(number_of(end, turns)): 90}
    return {"model": turns, "messages": HI, "temperature": 0, "logit_bias": bias, "frequency_penalty": 2}


@pytest.mark.parametrize("turns", FORMATS)
def test_the_end_of_the_turn_ends_the_answer_and_is_not_in_it(server: RunningServer, turns: TurnFormat) -> None:
    answer = server.client().chat.completions.create(**body(turns), max_tokens=64)  # type: ignore[call-overload]
    choice = answer.choices[0]
    assert choice.finish_reason == "stop"
    assert choice.message.content == WORD * (answer.usage.completion_tokens - 1) != ""


@pytest.mark.parametrize("turns", FORMATS)
def test_nothing_of_the_end_is_streamed(server: RunningServer, turns: TurnFormat) -> None:
    chunks = server.client().chat.completions.create(**body(turns), max_tokens=64, stream=True)  # type: ignore[call-overload]
    choices = [chunk.choices[0] for chunk in chunks]
    text = "".join(choice.delta.content or "" for choice in choices)
    assert (text.replace(WORD, ""), choices[-1].finish_reason) == ("", "stop")


@pytest.mark.parametrize("turns", FORMATS)
def test_the_fallback_is_told_by_the_models_route_and_explained(server: RunningServer, turns: TurnFormat) -> None:
    told = server.client().post("/chat/completions/explain", cast_to=object, body={"model": turns, "messages": HI})
    assert isinstance(told, dict)
    model = server.get(f"/v1/models/{turns}")
    assert told["prompt"] == PROMPTS[turns]
    assert told["template"]["source"] == model["chat_template"] == f"fallback {turns}"
    assert told["template"]["sha256"] == model["chat_template_sha256"]


def test_a_load_warns_with_the_name_the_fallback_and_what_to_do(server: RunningServer) -> None:
    server.client().chat.completions.create(model="gemma", messages=HI, max_tokens=1)  # type: ignore[arg-type]
    [warning] = [line for line in server.log if "Bare-gemma has no chat template" in line]
    assert "WARNING" in warning
    assert "fallback gemma," in warning
    assert "instruction-tuned" in warning


def test_the_list_says_the_same_without_loading(entries: list[str]) -> None:
    command = [sys.executable, "-m", "localrouter", "list", "--json", *entries]
    listed = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    told = {entry["alias"]: entry["builds"][0]["fallback_template"] for entry in listed}
    assert {turns: told[turns] for turns in FORMATS} == {turns: f"fallback {turns}" for turns in FORMATS}
    assert told["demo"] is None

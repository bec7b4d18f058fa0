"""Fill in the middle with a model whose vocabulary has tokens for it, through a server."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from bare_models import SIZE, SMALL
from running_server import PATIENCE, RunningServer, serving

from localrouter.bench.synthetic.model_writer import write_model
from localrouter.bench.synthetic.synthetic_vocabulary import CONTROL, made_up

FIM = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|repo_name|>", "<|file_sep|>")
_TOKENS, _TYPES, _CONTROL = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type", 3


def write_fim_model(path: Path) -> None:
    """Write a one-layer model whose last tokens but those of ChatML are for fill in the middle."""
    words = made_up(SIZE)
    tokens, types = words.fields[_TOKENS], words.fields[_TYPES]
    assert isinstance(tokens, list)
    assert isinstance(types, list)
    before = len(tokens) - len(CONTROL) - len(FIM)
    named = [*tokens[:before], *FIM, *tokens[before + len(FIM) :]]
    kinds = [*types[:before], *[_CONTROL] * (SIZE - before)]
    fields: dict[str, Any] = {**words.fields, _TOKENS: named, _TYPES: kinds}
    write_model(path, "fim", replace(SMALL, vocabulary=SIZE), replace(words, key="fim", fields=fields), seed=1)


@pytest.fixture(scope="module")
def fim_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    path = tmp_path_factory.mktemp("fim") / "fim.gguf"
    write_fim_model(path)
    with serving("--model", f"fim={path}", "--context", "1024") as running:
        yield running


def post(server: RunningServer, path: str, **body: object) -> Any:
    url = f"{server.base_url}{path}"
    return httpx.post(url, json={"model": "fim", **body}, timeout=PATIENCE).raise_for_status().json()


def count(server: RunningServer, text: str, **fields: object) -> int:
    found: int = post(server, "/tokenize", content=text, **fields)["count"]
    return found


def test_a_suffix_makes_the_prompt_that_the_tokens_spell(fim_server: RunningServer) -> None:
    asked = {"temperature": 0, "max_tokens": 8}
    filled = post(fim_server, "/completions", prompt="def f(", suffix="): pass", **asked)
    spelled = post(
        fim_server, "/completions", prompt="<|fim_prefix|>def f(<|fim_suffix|>): pass<|fim_middle|>", **asked
    )

    assert filled["choices"][0]["text"] == spelled["choices"][0]["text"]
    assert filled["usage"]["prompt_tokens"] == spelled["usage"]["prompt_tokens"]


def test_spelled_tokens_in_a_prefix_are_text(fim_server: RunningServer) -> None:
    found = post(fim_server, "/completions", prompt="<|fim_middle|>", suffix="x", max_tokens=0)
    as_text = count(fim_server, "<|fim_middle|>", parse_special=False)

    assert as_text > 1
    assert found["usage"]["prompt_tokens"] == 3 + as_text + 1


def test_infill_shows_other_files_first(fim_server: RunningServer) -> None:
    files = [{"filename": "a.py", "text": "x = 1\n"}]
    found = post(fim_server, "/infill", input_prefix="y = ", input_suffix="\n", input_extra=files, n_predict=4)
    texts = ("myproject\n", "a.py\n", "x = 1\n", "filename\n", "y = ", "\n")

    assert found["tokens_evaluated"] == len(FIM) + 1 + sum(count(fim_server, text) for text in texts)
    assert found["stop"] is True

"""`localrouter conformance` against our own server: every promise of the reference, with every family of models."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from real_vocabularies import SHARED, needs_shared, template_text
from running_server import RunningServer, serving

from benchmarks.real_vocabulary import copied
from localrouter.bench.shapes import SHAPES
from localrouter.bench.synthetic import write_model
from localrouter.bench.vocabulary import TEMPLATE
from localrouter.cli import main

FAMILIES = {
    "qwen3": ("qwen3-tiny", "ggml-vocab-qwen35.gguf", "Qwen-Qwen3-0.6B.jinja"),
    "qwen35moe": ("qwen35moe-tiny", "ggml-vocab-qwen35.gguf", "Qwen3.5-4B.jinja"),
    "gemma4": ("gemma4-tiny", "ggml-vocab-gemma-4.gguf", "google-gemma-4-31B-it.jinja"),
}
"""The shape, the vocabulary and the chat template of each."""


def write_noise(folder: Path, family: str) -> Path:
    """Write a model with the architecture, the tokenizer and the template of a family; its weights are random."""
    shape, vocabulary, template = FAMILIES[family]
    words = copied(SHARED / "vocab" / vocabulary)
    words = replace(words, fields={**words.fields, TEMPLATE: template_text(template)})
    path = folder / f"{family}.gguf"
    write_model(path, family, replace(SHAPES[shape], vocabulary=words.size), words, seed=1)
    return path


@contextmanager
def noise(folder: Path, family: str) -> Iterator[RunningServer]:
    """Serve a model of noise under the name `noise`; afterwards its file is gone."""
    path = write_noise(folder, family)
    try:
        with serving("--model", f"noise={path}", "--threads", "1") as running:
            yield running
    finally:
        path.unlink()


def others(server: RunningServer, model: str, file: Path, *outcomes: str) -> list[Any]:
    """Return the checks that end in another way."""
    result = CliRunner().invoke(
        main, ["conformance", server.base_url, "--model", model, "--api-key", "local", "--json", str(file)]
    )
    assert file.exists(), result.output
    checks = json.loads(file.read_text())["checks"]
    return [(check["outcome"], check["name"], check["reason"]) for check in checks if check["outcome"] not in outcomes]


def test_demo_keeps_every_promise(server: RunningServer, tmp_path: Path) -> None:
    undecided = {"thoughts are counted"}  # demo thinks only when it is told to
    found = others(server, "demo", tmp_path / "results.json", "passed")
    assert [each for each in found if each[0] != "undecided" or each[1] not in undecided] == []


@needs_shared
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_noise_breaks_no_promise(family: str, tmp_path: Path) -> None:
    with noise(tmp_path, family) as running:
        assert others(running, "noise", tmp_path / "results.json", "passed", "undecided") == []

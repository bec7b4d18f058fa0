"""Small random models with the real vocabularies and chat templates of Qwen and Gemma, where these are at hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.real_vocabulary import copied
from localrouter.bench.shapes import Shape
from localrouter.bench.synthetic import write_model
from localrouter.bench.vocabulary import TEMPLATE

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
VOCABULARIES = {
    "qwen": ("ggml-vocab-qwen35.gguf", "Qwen-Qwen3-0.6B.jinja"),
    "gemma": ("ggml-vocab-gemma-4.gguf", "google-gemma-4-31B-it.jinja"),
}
SMALL = Shape("qwen3", layers=1, width=64, heads=2, kv_heads=1, head=32, feed_forward=64, context=4096)

needs_shared = pytest.mark.skipif(
    not SHARED.exists(), reason="the real vocabularies and templates are not beside the repository"
)


def vocabulary_file(family: str) -> Path:
    """Return the vocabulary-only GGUF of a family."""
    return SHARED / "vocab" / VOCABULARIES[family][0]


def template_text(name: str) -> str:
    """Return a chat template as its publisher wrote it."""
    return (SHARED / "templates" / name).read_text()


def write_small_model(folder: Path, family: str) -> Path:
    """Write a one-layer model of random weights that reads and formats text as the family does."""
    words = copied(vocabulary_file(family))
    template = template_text(VOCABULARIES[family][1])
    words = replace(words, fields={**words.fields, TEMPLATE: template})
    path = folder / f"{family}-small.gguf"
    write_model(path, family, replace(SMALL, vocabulary=words.size), words, seed=1)
    return path

"""The vocabularies and chat templates of real models, and small random models that have those of Qwen and Gemma.

They come out of llama.cpp's sources: `make test` puts them into its environment.
"""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.real_vocabulary import copied
from localrouter.bench.synthetic.model_shapes import SyntheticShape
from localrouter.bench.synthetic.model_writer import write_model
from localrouter.bench.synthetic.synthetic_vocabulary import TEMPLATE
from scripts.llama_samples import PINS, folder_of, pinned

SAMPLES = folder_of(Path(sys.prefix))
NAMES = list(pinned(PINS.read_text(encoding="utf-8")))
TEMPLATES = [Path(name).name for name in NAMES if name.endswith(".jinja")]
"""The names of all chat templates."""
VOCABULARIES = {
    "qwen": ("ggml-vocab-qwen35.gguf", "Qwen-Qwen3-0.6B.jinja"),
    "gemma": ("ggml-vocab-gemma-4.gguf", "google-gemma-4-31B-it.jinja"),
}
SMALL = SyntheticShape("qwen3", layers=1, width=64, heads=2, kv_heads=1, head=32, feed_forward=64, context=4096)

needs_samples = pytest.mark.skipif(
    not all((SAMPLES / name).is_file() for name in NAMES),
    reason=f"no real vocabularies and templates in {SAMPLES}; `make test` fetches them",
)


def vocabulary_file(family: str) -> Path:
    """Return the vocabulary-only GGUF of a family."""
    return SAMPLES / VOCABULARIES[family][0]


def template_text(name: str) -> str:
    """Return a chat template as its publisher wrote it."""
    return (SAMPLES / "templates" / name).read_text(encoding="utf-8")


def write_small_model(folder: Path, family: str) -> Path:
    """Write a one-layer model of random weights that reads and formats text as the family does."""
    words = copied(vocabulary_file(family))
    template = template_text(VOCABULARIES[family][1])
    words = replace(words, fields={**words.fields, TEMPLATE: template})
    path = folder / f"{family}-small.gguf"
    write_model(path, family, replace(SMALL, vocabulary=words.size), words, seed=1)
    return path

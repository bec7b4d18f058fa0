"""The random models that a soak runs on: one of each kind of memory, small enough to compute thousands of requests."""

from dataclasses import replace
from pathlib import Path

from localrouter.bench import shapes, synthetic, vocabulary

MODELS = ("qwen3-tiny", "gemma4-tiny", "qwen35moe-tiny")
"""Attention only; sliding windows; recurrent layers."""
WORDS = 4096
"""Tokens of the vocabulary."""


def write(folder: Path, name: str) -> str:
    """Write a model of a shape into a folder, and return its path."""
    words = vocabulary.made_up(WORDS)
    path = folder / f"{name}.gguf"
    synthetic.write_model(path, name, replace(shapes.SHAPES[name], vocabulary=words.size), words, seed=1)
    return str(path)

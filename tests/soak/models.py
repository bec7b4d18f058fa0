"""Models of random weights for a soak, one of each kind of cache, small enough for thousands of requests."""

from dataclasses import replace
from pathlib import Path

from localrouter.bench.synthetic import model_shapes, model_writer, synthetic_vocabulary

MODELS = ("qwen3-tiny", "gemma4-tiny", "qwen35moe-tiny")
"""Shapes with attention only, sliding windows, recurrent layers."""
WORDS = 4096
"""Size of the vocabulary."""


def write(folder: Path, name: str) -> str:
    """Write a model with the shape `name` into a folder, and return its path."""
    words = synthetic_vocabulary.made_up(WORDS)
    path = folder / f"{name}.gguf"
    model_writer.write_model(path, name, replace(model_shapes.SHAPES[name], vocabulary=words.size), words, seed=1)
    return str(path)

"""A GGUF with zeros instead of weights: a hole that takes no room on the disk, whatever the shape."""

from pathlib import Path

from localrouter.bench.shapes import Shape
from localrouter.bench.synthetic import metadata_of
from localrouter.bench.tensors import tensors_of
from localrouter.bench.vocabulary import Vocabulary
from localrouter.gguf.writer import header_of, padded


def write_hollow(path: Path, name: str, shape: Shape, words: Vocabulary) -> None:
    """Write it, with the header of a whole model."""
    table = [tensor.entry for tensor in tensors_of(shape)]
    with path.open("wb") as file:
        size = file.write(header_of(metadata_of(name, shape, words), table))
        file.truncate(size + sum(padded(entry.size) for entry in table))

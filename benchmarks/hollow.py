"""GGUF with zeros instead of weights: a sparse file that takes no space on disk."""

from pathlib import Path

from localrouter.bench.synthetic.model_shapes import SyntheticShape
from localrouter.bench.synthetic.model_writer import metadata_of
from localrouter.bench.synthetic.synthetic_vocabulary import SyntheticVocabulary
from localrouter.bench.synthetic.tensor_layout import tensors_of
from localrouter.gguf.writer import header_of, padded


def write_hollow(path: Path, name: str, shape: SyntheticShape, words: SyntheticVocabulary) -> None:
    """Write a sparse GGUF with the header of a complete model."""
    table = [tensor.entry for tensor in tensors_of(shape)]
    with path.open("wb") as file:
        size = file.write(header_of(metadata_of(name, shape, words), table))
        file.truncate(size + sum(padded(entry.size) for entry in table))

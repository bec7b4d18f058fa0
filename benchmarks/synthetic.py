"""Writes a GGUF of a real model's shape with random weights: as fast as the real one, and its text is noise.

The end token is as unlikely as any other, so an answer goes on until its `max_tokens`.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from hashlib import blake2b
from math import prod
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType, GGUFWriter
from gguf.quants import quantize

from benchmarks import vocabulary
from benchmarks.shapes import Shape
from benchmarks.tensors import Tensor, tensors_of
from benchmarks.vocabulary import Vocabulary

FORMAT = 1
"""Counts up when what is written changes, so that files from before are not used again."""
Q8_0 = GGMLQuantizationType.Q8_0
Q8_0_FILE = 7
"""What llama.cpp calls a file of mostly Q8_0."""


def cache_home() -> Path:
    """Return the folder for what benchmarks make and can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "localrouter"


def synthetic_model(name: str, shape: Shape, *, seed: int = 0, vocab: Path | None = None) -> Path:
    """Return the GGUF of this shape, from the cache or written now. `vocab` is a GGUF whose tokenizer to take."""
    words = vocabulary.copied(vocab) if vocab else vocabulary.made_up(shape.vocabulary)
    shape = replace(shape, vocabulary=words.size)
    facts = f"{FORMAT} {sorted(asdict(shape).items())} {seed} {words.key}"
    key = blake2b(facts.encode(), digest_size=6).hexdigest()
    path = cache_home() / "bench" / f"{name}-{key}-Q8_0.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as unfinished:
            write_model(unfinished, name, shape, words, seed)
    return path


def write_model(path: Path, name: str, shape: Shape, words: Vocabulary, seed: int) -> None:
    """Write the GGUF: always the same bytes for the same arguments."""
    writer = _described(path, name, shape, words)
    draw = np.random.default_rng(seed)
    for tensor in tensors_of(shape):
        _add(writer, tensor, draw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_hollow(path: Path, name: str, shape: Shape, words: Vocabulary) -> None:
    """Write the GGUF with zeros instead of weights: a hole that takes no room on the disk, whatever the shape."""
    writer = _described(path, name, shape, words)
    data = 0
    for tensor in tensors_of(shape):
        kind = Q8_0 if tensor.quantized else GGMLQuantizationType.F32
        block, size = GGML_QUANT_SIZES[kind]
        taken = prod(tensor.dimensions) // block * size
        writer.add_tensor_info(tensor.name, tensor.dimensions, np.dtype(np.float32), taken, raw_dtype=kind)
        data += GGUFWriter.ggml_pad(taken, writer.data_alignment)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with path.open("r+b") as file:
        header = GGUFWriter.ggml_pad(file.seek(0, os.SEEK_END), writer.data_alignment)
        file.truncate(header + data)


def _described(path: Path, name: str, shape: Shape, words: Vocabulary) -> GGUFWriter:
    """Return a writer that has all metadata."""
    writer = GGUFWriter(path, shape.arch)
    writer.add_name(f"{name}-synthetic")
    writer.add_file_type(Q8_0_FILE)
    for key, value in shape.metadata().items():
        if isinstance(value, list):
            writer.add_array(f"{shape.arch}.{key}", value)
        else:
            kind = GGUFValueType.FLOAT32 if isinstance(value, float) else GGUFValueType.UINT32
            writer.add_key_value(f"{shape.arch}.{key}", value, kind)
    for key, (content, kind) in words.fields.items():
        if kind == GGUFValueType.ARRAY:
            assert isinstance(content, list)
            writer.add_array(key, content)
        else:
            writer.add_key_value(key, content, kind)
    return writer


def _add(writer: GGUFWriter, tensor: Tensor, draw: np.random.Generator) -> None:
    elements = np.full(tensor.dimensions, tensor.mean, np.float32)
    if tensor.spread:
        elements += draw.standard_normal(tensor.dimensions, dtype=np.float32) * np.float32(tensor.spread)
    if tensor.quantized:
        writer.add_tensor(tensor.name, quantize(elements, Q8_0), raw_dtype=Q8_0)
    else:
        writer.add_tensor(tensor.name, elements)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; it becomes `path` when the block ends without an error."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        yield unfinished
        unfinished.replace(path)

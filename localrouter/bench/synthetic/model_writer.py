"""Writes a GGUF of a real model's shape with random weights: as fast as the real one, and its text is noise.

The end token is as unlikely as any other, so an answer goes on until its `max_tokens`.
"""

import shutil
from collections.abc import Iterator
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path

import numpy as np

from localrouter.bench.scratch import atomic, bench_home
from localrouter.bench.synthetic.model_shapes import SyntheticShape
from localrouter.bench.synthetic.quantization import q8_0
from localrouter.bench.synthetic.synthetic_vocabulary import SyntheticVocabulary, made_up
from localrouter.bench.synthetic.tensor_layout import TensorSpec, size_of, tensors_of
from localrouter.errors import ConfigError
from localrouter.gguf.writer import Value, write_gguf
from localrouter.weights.hashed_copy import Report, silent

FORMAT = 1
"""Counts up when what is written changes, so that files from before are not used again."""
Q8_0_FILE = 7
"""What llama.cpp calls a file of mostly Q8_0."""


def synthetic_model(name: str, shape: SyntheticShape, *, seed: int = 0, report: Report = silent) -> Path:
    """Return the GGUF of this shape, from the cache or written now; `report` is told of every so many bytes more.

    Raises ConfigError when the disk has no room for it.
    """
    words = made_up(shape.vocabulary)
    path = _path(name, shape, words, seed)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _require_room(path, size_of(shape))
        with atomic(path) as unfinished:
            write_model(unfinished, name, shape, words, seed, report=report)
    return path


def write_model(
    path: Path, name: str, shape: SyntheticShape, words: SyntheticVocabulary, seed: int, *, report: Report = silent
) -> None:
    """Write the GGUF: always the same bytes for the same arguments."""
    tensors = [*tensors_of(shape)]
    with path.open("wb") as file:
        data = _drawn(tensors, seed, report)
        write_gguf(file, metadata_of(name, shape, words), [tensor.entry for tensor in tensors], data)


def metadata_of(name: str, shape: SyntheticShape, words: SyntheticVocabulary) -> dict[str, Value]:
    """Return everything that the file says of the model."""
    facts: dict[str, Value] = {"general.architecture": shape.arch, "general.name": f"{name}-synthetic"}
    facts["general.file_type"] = Q8_0_FILE
    facts |= {f"{shape.arch}.{key}": value for key, value in shape.metadata().items()}
    return facts | dict(words.fields)


def _path(name: str, shape: SyntheticShape, words: SyntheticVocabulary, seed: int) -> Path:
    facts = f"{FORMAT} {sorted(asdict(shape).items())} {seed} {words.key}"
    return bench_home() / f"{name}-{blake2b(facts.encode(), digest_size=6).hexdigest()}-Q8_0.gguf"


def _require_room(path: Path, size: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise ConfigError(
            f"{path.parent}: {size / 1e9:.1f} GB are needed for this model, and {free / 1e9:.1f} GB are free",
            hint="free some space on that disk, or name another directory with XDG_CACHE_HOME",
        )


def _drawn(tensors: list[TensorSpec], seed: int, report: Report) -> Iterator[memoryview]:
    draw = np.random.default_rng(seed)
    for tensor in tensors:
        elements = np.full(tensor.dimensions, tensor.mean, np.float32)
        if tensor.spread:
            elements += draw.standard_normal(tensor.dimensions, dtype=np.float32) * np.float32(tensor.spread)
        data = (q8_0(elements).data if tensor.quantized else elements.data).cast("B")
        yield data
        report(len(data))

"""Writer of synthetic models: GGUF files with the shape of a real model and random weights.

A synthetic model is as fast as the real one, and its text is noise. The end token is as unlikely as any other, so
generation goes on until `max_tokens`.
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
"""Version of the written files; increased with every change, so that older cached files are not reused."""
Q8_0_FILE = 7
"""llama.cpp's `general.file_type` of a file of mostly Q8_0."""


def synthetic_model(name: str, shape: SyntheticShape, *, seed: int = 0, report: Report = silent) -> Path:
    """Return the GGUF of this shape, from the cache or written now; `report` is called with numbers of bytes written.

    Raises ConfigError when the disk has not enough space.
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
    """Write the GGUF of a synthetic model. The file is reproducible: equal arguments give equal bytes."""
    tensors = [*tensors_of(shape)]
    with path.open("wb") as file:
        data = _sampled(tensors, seed, report)
        write_gguf(file, metadata_of(name, shape, words), [tensor.entry for tensor in tensors], data)


def metadata_of(name: str, shape: SyntheticShape, words: SyntheticVocabulary) -> dict[str, Value]:
    """Return the whole GGUF metadata of a synthetic model: general keys, shape and vocabulary."""
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
            f"{path.parent}: this model needs {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free",
            hint="free some space on that disk, or set XDG_CACHE_HOME to another directory",
        )


def _sampled(tensors: list[TensorSpec], seed: int, report: Report) -> Iterator[memoryview]:
    rng = np.random.default_rng(seed)
    for tensor in tensors:
        elements = np.full(tensor.dimensions, tensor.mean, np.float32)
        if tensor.spread:
            elements += rng.standard_normal(tensor.dimensions, dtype=np.float32) * np.float32(tensor.spread)
        data = (q8_0(elements).data if tensor.quantized else elements.data).cast("B")
        yield data
        report(len(data))

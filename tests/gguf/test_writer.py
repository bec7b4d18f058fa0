"""What is written is what our reader, and the library of llama.cpp's own project, find."""

import io
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter

from localrouter.gguf.header import read_header
from localrouter.gguf.writer import F32, I8, MetadataEntry, Value, header_of, write_gguf

METADATA: dict[str, Value] = {
    "general.architecture": "qwen3",
    "general.name": "größer",
    "a.count": 7,
    "a.below": -3,
    "a.real": 0.5,
    "a.truth": True,
    "a.words": ["one", "", "drei €"],
    "a.numbers": [1, -2],
    "a.truths": [True, False],
}
TABLE = [MetadataEntry("wide", (2, 3), F32), MetadataEntry("odd", (5,), I8), MetadataEntry("last", (1,), F32)]
DATA = [bytes(range(24)), b"12345", bytes(4)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = io.BytesIO()
    write_gguf(file, METADATA, TABLE, DATA)
    (tmp_path / "a.gguf").write_bytes(file.getvalue())
    return tmp_path / "a.gguf"


def test_our_reader_finds_all_of_it(path: Path) -> None:
    header = read_header(path)

    scalars = {key: value for key, value in METADATA.items() if not isinstance(value, list)}
    assert header.metadata == scalars
    assert header.arrays == {"a.words": 3, "a.numbers": 2, "a.truths": 2}
    assert header.lists == {"a.numbers": (1, -2), "a.truths": (True, False)}
    assert [(tensor.name, tensor.shape, tensor.size) for tensor in header.tensors] == [
        ("wide", (3, 2), 24),
        ("odd", (5,), 5),
        ("last", (1,), 4),
    ]
    assert header.data_end + 28 == path.stat().st_size  # the last one is padded too


def test_the_library_of_llama_cpp_finds_the_same(path: Path) -> None:
    reader = GGUFReader(path)

    assert {key: reader.fields[key].contents() for key in METADATA} == METADATA
    assert [bytes(tensor.data.tobytes()) for tensor in reader.tensors] == DATA


def test_the_bytes_are_those_of_that_library(path: Path, tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "b.gguf", "qwen3")
    writer.add_name("größer")
    writer.add_uint32("a.count", 7)
    writer.add_int32("a.below", -3)
    writer.add_float32("a.real", 0.5)
    writer.add_bool("a.truth", True)
    for key in ("a.words", "a.numbers", "a.truths"):
        value = METADATA[key]
        assert isinstance(value, list)
        writer.add_array(key, value)
    writer.add_tensor("wide", np.frombuffer(DATA[0], np.float32).reshape(2, 3))
    writer.add_tensor("odd", np.frombuffer(DATA[1], np.int8), raw_dtype=GGMLQuantizationType.I8)
    writer.add_tensor("last", np.zeros(1, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    assert path.read_bytes() == (tmp_path / "b.gguf").read_bytes()


def test_data_begins_where_it_is_aligned() -> None:
    assert len(header_of(METADATA, TABLE)) % 32 == 0


def test_data_of_another_size_than_in_the_table_fails_an_assertion() -> None:
    with pytest.raises(AssertionError, match="odd"):
        write_gguf(io.BytesIO(), METADATA, TABLE, [DATA[0], b"1234", DATA[2]])

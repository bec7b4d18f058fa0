import struct
import tracemalloc
from pathlib import Path

import gguf
import pytest
from gguf_bytes import SAMPLE, array_pair, header, number_pair, pair, text, text_pair
from hypothesis import given, settings
from hypothesis import strategies as st

from localrouter.weights.gguf import GgufError, GgufHeader, read_header


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def read(path: Path, data: bytes) -> GgufHeader:
    path.write_bytes(data)
    return read_header(path)


def test_says_what_the_model_is(path: Path) -> None:
    found = read(path, SAMPLE)
    assert (found.version, found.tensor_count) == (3, 0)
    assert (found.architecture, found.name, found.license) == ("qwen3", "A sample", "apache-2.0")
    assert (found.context_length, found.file_type, found.parameters) == (2048, "Q4_K_M", None)
    assert found.metadata["tokenizer.ggml.add_bos_token"] is True


def test_keeps_only_the_length_of_arrays(path: Path) -> None:
    found = read(path, SAMPLE)
    assert found.arrays == {"tokenizer.ggml.tokens": 3, "tokenizer.ggml.scores": 3}
    assert "tokenizer.ggml.tokens" not in found.metadata


def test_an_empty_header_knows_nothing(path: Path) -> None:
    found = read(path, header())
    assert (found.architecture, found.name, found.context_length, found.file_type) == (None, None, None, None)


def test_reads_version_2(path: Path) -> None:
    assert read(path, header(version=2)).version == 2


def test_agrees_with_the_writer_of_the_gguf_package(path: Path) -> None:
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_name("Käse")
    writer.add_context_length(32768)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_token_list(["x"] * 10)
    values = {"a.f32": 0.5, "a.i64": -(2**40), "a.u64": 2**63, "a.flag": False}
    writer.add_float32("a.f32", 0.5)
    writer.add_int64("a.i64", -(2**40))
    writer.add_uint64("a.u64", 2**63)
    writer.add_bool("a.flag", False)
    writer.add_uint64("general.parameter_count", 999_885_952)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    found = read_header(path)
    assert (found.name, found.context_length, found.file_type, found.parameters) == ("Käse", 32768, "Q8_0", 999_885_952)
    assert {key: found.metadata[key] for key in values} == values
    assert found.arrays["tokenizer.ggml.tokens"] == 10


@pytest.mark.parametrize("kind", [kind for kind in gguf.LlamaFileType if kind.name != "GUESSED"])
def test_file_types_have_llama_cpp_s_names(path: Path, kind: gguf.LlamaFileType) -> None:
    name = kind.name.removeprefix("MOSTLY_").removeprefix("ALL_")
    assert read(path, header(number_pair("general.file_type", kind.value))).file_type == name


def test_an_unknown_file_type_is_told_by_its_number(path: Path) -> None:
    assert read(path, header(number_pair("general.file_type", 777))).file_type == "type 777"


def test_reads_on_behind_a_vocabulary_larger_than_the_window(path: Path) -> None:
    vocabulary = b"".join(text("x" * (n % 50)) for n in range(40_000))
    found = read(path, header(array_pair("v", 8, 40_000, vocabulary), text_pair("general.name", "behind")))
    assert found.arrays["v"] == 40_000
    assert found.name == "behind"


def test_values_of_another_type_than_expected_are_no_answer(path: Path) -> None:
    found = read(path, header(number_pair("general.name", 3), pair("general.file_type", 7, b"\x01")))
    assert (found.name, found.file_type) == (None, None)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "ends in the middle"),
        (SAMPLE[:30], "8 metadata entries, more than there can be"),
        (SAMPLE[:-1], "ends in the middle"),
        (b"version https://git-lfs.github.com/spec/v1", "does not start with the bytes GGUF"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (header(version=1), "version is 1"),
        (header(version=4), "version is 4"),
        (header(version=0), "version is 0"),
        (header(tensors=2**60), "1152921504606846976 tensors"),
        (header(count=2**63), "metadata entries"),
        (header(count=100_000) + bytes(2_000_000), "100000 metadata entries"),
        (header(text_pair("k", "v") * 2, count=2), "'k' stands there twice"),
        (header(pair("k", 13, b"")), "unknown type 13"),
        (header(array_pair("k", 9, 0, b"")), "array of the type 9"),
        (header(array_pair("k", 4, 2**61, b"")), "numbers in an array"),
        (header(array_pair("k", 8, 2**61, b"")), "texts in an array"),
        (header(array_pair("k", 8, 1, struct.pack("<Q", 2**64 - 1))), "ends in the middle"),
        (header(pair("k", 8, struct.pack("<Q", 2**64 - 1))), "makes no sense"),
        (header(text_pair("k" * 70_000, "v")), "makes no sense"),
    ],
)
def test_a_malformed_header_is_an_error_that_names_the_file(path: Path, data: bytes, words: str) -> None:
    with pytest.raises(GgufError) as caught:
        read(path, data)
    assert words in caught.value.message
    assert str(path) in caught.value.message


def test_a_huge_file_does_not_make_a_huge_text_believable(path: Path) -> None:
    path.write_bytes(header(pair("k", 8, struct.pack("<Q", 2**32)), count=1))
    with path.open("r+b") as file:
        file.truncate(2**33)  # sparse
    tracemalloc.start()
    with pytest.raises(GgufError, match="makes no sense"):
        read_header(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GgufError, match="cannot be read"):
        read_header(tmp_path)


@settings(deadline=None)
@given(
    cut=st.integers(0, len(SAMPLE)),
    changes=st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), max_size=8),
)
def test_any_damage_is_an_error_or_a_header(
    tmp_path_factory: pytest.TempPathFactory, cut: int, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(SAMPLE)
    for index, value in changes:
        data[index] = value
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    try:
        found = read(path, bytes(data[:cut]))
    except GgufError:
        return
    assert found.architecture is None or isinstance(found.architecture, str)
    assert found.file_type is None or isinstance(found.file_type, str)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_behind_the_magic_are_an_error_or_a_header(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.gguf"
    try:
        found = read(path, header(count=1) + data)
    except GgufError:
        return
    assert len(found.metadata) + len(found.arrays) == 1

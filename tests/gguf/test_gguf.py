import re
import struct
import tracemalloc
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf_bytes import SAMPLE, TENSORS, array_pair, header, number_pair, pair, tensor, text, text_pair
from hypothesis import given
from hypothesis import strategies as st

from localrouter.gguf.header import MAX_LIST, GgufError, GgufHeader, NeedMore, parse_header, read_header
from localrouter.gguf.tensors import TYPES
from localrouter.memory.shape import shape_of_headers


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def read(path: Path, data: bytes) -> GgufHeader:
    path.write_bytes(data)
    return read_header(path)


def test_a_header_has_the_facts_about_the_model(path: Path) -> None:
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


def test_an_unknown_file_type_is_named_by_its_number(path: Path) -> None:
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


def test_knows_each_tensor_and_where_its_data_lies(path: Path) -> None:
    found = read(path, TENSORS)
    embedding, norm, matrix, _ = found.tensors
    assert (embedding.name, embedding.shape, embedding.type.name, embedding.size) == (
        "token_embd.weight",
        (64, 3),
        "Q8_0",
        204,
    )
    assert [tensor.offset for tensor in found.tensors] == [0, 224, 480, 768]
    assert (norm.layer, matrix.layer, embedding.layer) == (0, 1, None)
    assert found.data_offset == -(-len(TENSORS) // 32) * 32
    assert found.data_end == found.data_offset + 768 + 252


def test_sums_the_weights_and_those_of_each_layer(path: Path) -> None:
    found = read(path, TENSORS)
    assert found.weight_bytes == 204 + 256 + 288 + 252
    assert found.layer_bytes == {0: 256, 1: 288}
    assert (found.tensor_bytes("token_embd"), found.tensor_bytes("output")) == (204, 0)


def test_keeps_short_arrays_of_numbers(path: Path) -> None:
    found = read(path, TENSORS)
    assert found.lists == {
        "qwen3.attention.head_count_kv": (1, 2),
        "qwen3.attention.sliding_window_pattern": (True, False),
    }


def test_skips_long_arrays_and_reads_on_behind_them(path: Path) -> None:
    long = array_pair("long", 4, MAX_LIST + 1, bytes(4 * MAX_LIST + 4))
    found = read(path, header(long, text_pair("general.name", "behind")))
    assert (found.lists, found.arrays, found.name) == ({}, {"long": MAX_LIST + 1}, "behind")


def test_agrees_with_the_gguf_package_about_tensors(path: Path) -> None:
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_custom_alignment(64)
    writer.add_tensor("token_embd.weight", np.zeros((5, 34), np.uint8), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("blk.0.attn_norm.weight", np.zeros(7, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found, expected = read_header(path), gguf.GGUFReader(path).tensors
    assert [(tensor.name, tensor.size) for tensor in found.tensors] == [(each.name, each.n_bytes) for each in expected]
    assert [found.data_offset + tensor.offset for tensor in found.tensors] == [each.data_offset for each in expected]
    assert found.data_end <= path.stat().st_size < found.data_end + 64


@pytest.mark.parametrize("kind", [kind for kind in gguf.GGMLQuantizationType if kind.name != "Q8_1"])
def test_sizes_of_types_are_those_of_the_gguf_package(kind: gguf.GGMLQuantizationType) -> None:
    ours = TYPES[kind.value]
    assert (ours.name, (ours.block, ours.size)) == (kind.name, gguf.GGML_QUANT_SIZES[kind])


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ([tensor("a", (64,)), tensor("a", (64,), offset=256)], "two tensors of the name 'a'"),
        ([tensor("a", (64,)), tensor("b", (64,), offset=128)], "'b' is said to be at 128, not 256"),
        ([tensor("a", (64,), offset=2**63)], "said to be at"),
        ([tensor("a", (1, 1, 1, 1, 1))], "5 dimensions"),
        ([tensor("a", (64,), 4)], "of the type 4"),
        ([tensor("a", (63,), 8)], "cannot have the shape"),
        ([tensor("a", (2**62, 2**62))], "cannot have the shape"),
        ([tensor("a" * 64, (1,))], "makes no sense"),
        ([tensor("a", (64,))[:-1]], "ends in the middle"),
    ],
)
def test_a_malformed_tensor_is_an_error_that_names_it(path: Path, tensors: list[bytes], words: str) -> None:
    with pytest.raises(GgufError, match=re.escape(words)):
        read(path, header(tensors=len(tensors)) + b"".join(tensors))


def test_an_absurd_number_of_tensors_is_refused_before_they_are_read(path: Path) -> None:
    path.write_bytes(header(tensors=2**20))
    with path.open("r+b") as file:
        file.truncate(2**33)  # sparse
    with pytest.raises(GgufError, match="1048576 tensors, more than there can be"):
        read_header(path)


def test_an_alignment_that_is_no_power_of_two_is_refused(path: Path) -> None:
    with pytest.raises(GgufError, match="its alignment is 48"):
        read(path, header(number_pair("general.alignment", 48)))


def parsed(data: bytes, size: int | None = None) -> GgufHeader | NeedMore:
    return parse_header(data, name="m.gguf", size=size)


@pytest.mark.parametrize("size", [None, 10_000_000])
def test_the_first_bytes_of_a_file_are_enough(path: Path, size: int | None) -> None:
    assert parsed(TENSORS, size) == read(path, TENSORS)


@pytest.mark.parametrize("size", [None, len(TENSORS) + 1000])
def test_a_beginning_that_is_too_short_asks_for_more_until_it_is_enough(path: Path, size: int | None) -> None:
    whole = TENSORS + bytes(1000)
    data, tries = whole[:24], 0
    while isinstance(found := parsed(data, size), NeedMore):
        assert len(data) < found.bytes <= len(whole) or size is None
        data, tries = whole[: found.bytes], tries + 1
    assert found == read(path, TENSORS)
    assert tries < 7


def test_a_file_that_ends_inside_its_header_is_not_asked_for_more(path: Path) -> None:
    with pytest.raises(GgufError, match=r"m\.gguf is not a usable GGUF file: it ends in the middle"):
        parsed(TENSORS[:-10], len(TENSORS) - 10)


def test_a_header_that_goes_on_for_ever_is_refused() -> None:
    with pytest.raises(GgufError, match=r"longer than 256 MiB|makes no sense|more than there can be"):
        parsed(header(array_pair("k", 8, 1, struct.pack("<Q", 2**40)), text_pair("a", "b")))


@given(
    cut=st.integers(0, len(TENSORS)),
    changes=st.lists(st.tuples(st.integers(0, len(TENSORS) - 1), st.integers(0, 255)), max_size=8),
    size=st.none() | st.integers(0, 2**40),
)
def test_damaged_tensors_are_an_error_a_header_or_a_wish_for_more(
    cut: int, changes: list[tuple[int, int]], size: int | None
) -> None:
    data = bytearray(TENSORS)
    for index, value in changes:
        data[index] = value
    try:
        found = parsed(bytes(data[:cut]), size)
    except GgufError:
        return
    if isinstance(found, NeedMore):
        assert cut < found.bytes <= 256 << 20
    else:
        assert 0 <= found.weight_bytes <= found.data_end < 2**80
        assert sum(found.layer_bytes.values()) <= found.weight_bytes
        shape = shape_of_headers([found])
        assert shape.weights == found.weight_bytes or not shape.complete or len(shape.layers) < 2

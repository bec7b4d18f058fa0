import struct

import pytest
from gguf_bytes import array_pair, header, number_pair, tensor, text_pair

from localrouter.gguf.header import GgufHeader, parse_header
from localrouter.memory.shape import Shape, shape_of_headers

BASE = {"block_count": 4, "embedding_length": 64, "attention.head_count": 4, "attention.head_count_kv": 2}


def parsed(arch: str, facts: dict[str, int], *arrays: bytes, tensors: dict[str, int] | None = None) -> GgufHeader:
    """A header whose tensors have so many elements of f32, multiples of eight."""
    weights = {f"blk.{number}.w": 8 for number in range(4)} if tensors is None else tensors
    pairs = [text_pair("general.architecture", arch), *(number_pair(f"{arch}.{key}", facts[key]) for key in facts)]
    data, offset = header(*pairs, *arrays, tensors=len(weights)), 0
    for name, elements in weights.items():
        data += tensor(name, (elements,), 0, offset)
        offset += 4 * elements
    found = parse_header(data, name="made up")
    assert isinstance(found, GgufHeader)
    return found


def caches(shape: Shape) -> list[tuple[int, int]]:
    return [(layer.keys, layer.values) for layer in shape.layers]


def numbers(key: str, *values: int) -> bytes:
    return array_pair(key, 4, len(values), struct.pack(f"<{len(values)}I", *values))


def test_heads_are_as_long_as_the_width_allows_unless_told() -> None:
    assert caches(shape_of_headers([parsed("qwen3", BASE)])) == [(32, 32)] * 4
    told = BASE | {"attention.key_length": 128, "attention.value_length": 256}
    assert caches(shape_of_headers([parsed("qwen3", told)])) == [(256, 512)] * 4


def test_heads_may_differ_from_layer_to_layer() -> None:
    arrays = numbers("gemma4.attention.head_count_kv", 1, 2, 3, 4)
    facts = {key: value for key, value in BASE.items() if key != "attention.head_count_kv"}
    assert caches(shape_of_headers([parsed("gemma4", facts, arrays)])) == [(16 * n, 16 * n) for n in (1, 2, 3, 4)]


def test_a_pattern_selects_the_sliding_layers_which_may_have_other_heads() -> None:
    facts = BASE | {"attention.sliding_window": 8, "attention.key_length_swa": 4}
    arrays = array_pair("gemma4.attention.sliding_window_pattern", 7, 4, b"\x01\x00\x01\x00")
    shape = shape_of_headers([parsed("gemma4", facts, arrays)])
    assert [layer.sliding for layer in shape.layers] == [True, False, True, False]
    assert caches(shape)[:2] == [(8, 32), (32, 32)]


@pytest.mark.parametrize(("arch", "sliding"), [("gemma3", [1, 1, 1, 1, 1, 0, 1]), ("qwen3", [0] * 7)])
def test_some_architectures_have_a_pattern_of_their_own(arch: str, sliding: list[int]) -> None:
    facts = BASE | {"attention.sliding_window": 8, "block_count": 7}
    assert [layer.sliding for layer in shape_of_headers([parsed(arch, facts)]).layers] == sliding


def test_layers_that_share_the_cache_of_others_have_none() -> None:
    shape = shape_of_headers([parsed("gemma4", BASE | {"attention.shared_kv_layers": 3})])
    assert caches(shape) == [(32, 32), (0, 0), (0, 0), (0, 0)]


RECURRENT = BASE | {
    "ssm.conv_kernel": 4,
    "ssm.inner_size": 32,
    "ssm.state_size": 8,
    "ssm.group_count": 2,
    "full_attention_interval": 2,
}


def test_recurrent_layers_have_a_state_and_no_cache() -> None:
    shape = shape_of_headers([parsed("qwen35", RECURRENT)])
    state = 4 * (3 * (32 + 2 * 2 * 8) + 8 * 32)
    assert [(layer.state, layer.keys) for layer in shape.layers] == [(state, 0), (0, 32)] * 2
    assert shape.recurrent


def test_layers_that_predict_further_tokens_are_not_loaded() -> None:
    shape = shape_of_headers([parsed("qwen35", RECURRENT | {"nextn_predict_layers": 1})])
    assert len(shape.layers) == 3
    assert (shape.weights, shape.complete) == (3 * 8 * 4, True)


def test_an_embedding_that_is_also_the_output_is_tied() -> None:
    layers = {f"blk.{number}.w": 8 for number in range(4)}
    tied = shape_of_headers([parsed("qwen3", BASE, tensors={"token_embd.weight": 80, **layers})])
    assert (tied.embedding, tied.tied, tied.output) == (320, 320, 0)
    both = {"token_embd.weight": 80, "output.weight": 40, **layers}
    assert shape_of_headers([parsed("qwen3", BASE, tensors=both)]).tied == 0


def test_parts_of_a_split_file_are_added_up() -> None:
    first = parsed("qwen3", BASE, tensors={"token_embd.weight": 80, "blk.0.w": 8, "blk.1.w": 8})
    second = parsed("qwen3", {}, tensors={"blk.1.v": 8, "blk.2.w": 8, "blk.3.w": 8})
    assert not shape_of_headers([first]).complete
    shape = shape_of_headers([first, second])
    assert [layer.weights for layer in shape.layers] == [32, 64, 32, 32]
    assert (shape.complete, shape.weights) == (True, first.weight_bytes + second.weight_bytes)


@pytest.mark.parametrize("facts", [{}, {"block_count": 0}])
def test_a_header_that_does_not_tell_its_layers_tells_its_weights(facts: dict[str, int]) -> None:
    shape = shape_of_headers([parsed("qwen3", facts)])
    assert (shape.weights, shape.complete, shape.source) == (4 * 8 * 4, False, "file")

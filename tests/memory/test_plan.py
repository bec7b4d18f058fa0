"""Plan: compared with the allocations in llama.cpp's log, and its properties without llama.cpp."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.plan_table import CONTEXTS, KV_TYPES, SHAPES, compare
from localrouter.load_options import KvType
from localrouter.memory.plan import ContextParams, plan, sequences, slots, ubatch
from localrouter.memory.shape import Layer, Shape, Widths, shape_of_size
from localrouter.weights.manifest.model_shape import ManifestShape

MIB = 1 << 20
SHAPE = Shape(
    source="file",
    layers=(Layer(100, keys=64, values=64, sliding=True), Layer(200, keys=128, values=128)) * 2,
    embedding=1000,
    output=10,
    tied=900,
    vocabulary=500,
    window=32,
    heads=4,
    trained=4096,
    widths=Widths(width=64, feed_forward=128, queries=64, keys=128),
)
RECURRENT = replace(SHAPE, layers=(Layer(100, state=5000), Layer(100, keys=64, values=64)))


@pytest.mark.parametrize("name", SHAPES)
def test_the_plan_predicts_the_allocations_of_llama_cpp(name: str, tmp_path: Path) -> None:
    found = list(compare(name, tmp_path))
    assert {(each.setup.cells, each.setup.kv) for each in found} >= {(c, kv) for c in CONTEXTS for kv in KV_TYPES}
    for each in found:
        for what, (predicted, measured) in each.pairs.items():
            tolerance = 0.1 if what in {"compute", "total"} else 0.01
            assert predicted == pytest.approx(measured, rel=tolerance, abs=MIB / 50), (what, each.setup)


def test_cache_is_keys_and_values_of_every_layer_in_every_cell() -> None:
    assert plan(SHAPE, ContextParams(cells=1000)).ram.cache == 2 * (128 + 256) * 2 * 1024


@pytest.mark.parametrize(("kv_type", "bytes_of_32"), [("f16", 64), ("q8_0", 34), ("q4_0", 18)])
def test_quantized_caches_are_smaller(kv_type: KvType, bytes_of_32: int) -> None:
    params = ContextParams(cells=1024, kv_type=kv_type)
    assert plan(SHAPE, params).ram.cache == 2 * (128 + 256) * 1024 // 32 * bytes_of_32


def test_sliding_layers_hold_only_their_window_unless_they_hold_all() -> None:
    params = ContextParams(cells=100_000, sequences=4, idle=0, rows=100, swa_full=False)
    window = 256  # 4 windows of 32 and a batch of 104, padded
    assert plan(SHAPE, params).ram.cache == 2 * (128 * window + 256 * 100_096) * 2


def test_a_short_cache_is_no_larger_for_its_windows() -> None:
    params = ContextParams(cells=256, sequences=64, swa_full=False)
    assert plan(SHAPE, params).ram.cache == plan(SHAPE, replace(params, swa_full=True)).ram.cache


def test_windows_are_held_for_at_most_eight_sequences_and_four_that_are_kept() -> None:
    few = ContextParams(cells=100_000, swa_full=False)
    assert (sequences(SHAPE, few), slots(SHAPE, few)) == (8, 12)
    assert (sequences(SHAPE, replace(few, swa_full=True)), slots(SHAPE, replace(few, swa_full=True))) == (64, 96)


def test_rows_at_once_are_never_more_than_a_step_has() -> None:
    assert ubatch(SHAPE, ContextParams(cells=4096, sequences=8, rows=100)) == 108
    assert ubatch(SHAPE, ContextParams(cells=4096, sequences=8, rows=100, ubatch=64)) == 64


def test_states_are_allocated_for_each_of_at_most_eight_sequences() -> None:
    assert plan(RECURRENT, ContextParams(cells=256, sequences=3, idle=0)).ram.states == 3 * 5000
    assert plan(RECURRENT, ContextParams(cells=256, sequences=64, idle=0)).ram.states == 8 * 5000
    assert sequences(SHAPE, ContextParams(cells=256, sequences=64)) == 64


def test_idle_slots_take_states_too() -> None:
    assert plan(RECURRENT, ContextParams(cells=256, sequences=3, idle=1)).ram.states == 4 * 5000
    assert plan(RECURRENT, ContextParams(cells=256, sequences=64)).ram.states == (8 + 4) * 5000


def test_there_are_never_more_slots_than_llama_cpp_can_tell_apart() -> None:
    assert slots(SHAPE, ContextParams(cells=256, sequences=256)) == 256


def test_logits_are_a_row_of_the_vocabulary_for_each_sequence() -> None:
    assert plan(SHAPE, ContextParams(cells=256, sequences=10, idle=0)).ram.logits == 10 * 500 * 4


def test_layers_go_to_the_gpu_from_the_last_one_down_and_the_embedding_stays() -> None:
    split = plan(SHAPE, ContextParams(cells=256, gpu_layers=2))  # the output layer counts as one
    assert split.gpu.weights == 200 + 10 + 900
    assert split.ram.weights == 1000 + 100 + 200 + 100
    assert split.gpu.cache == 256 * 256 * 2


def test_all_layers_on_the_gpu_leave_no_cache_in_ram() -> None:
    whole = plan(SHAPE, ContextParams(cells=256, gpu_layers=99))
    assert (whole.ram.cache, whole.ram.weights, whole.gpu.weights) == (0, 1000, 600 + 10 + 900)


def test_weights_are_somewhere_wherever_the_layers_are() -> None:
    for layers in range(6):
        both = plan(SHAPE, ContextParams(cells=256, gpu_layers=layers)).both
        assert both.weights == SHAPE.weights + (SHAPE.tied if layers else 0)
        assert both.cache == plan(SHAPE, ContextParams(cells=256)).ram.cache


def test_gpus_share_layers_as_llama_does_and_the_output_layer_goes_to_the_last_of_them() -> None:
    both = plan(SHAPE, ContextParams(cells=256, gpu_layers=99, shares=(1, 1)))
    one, other = both.gpus
    assert one.weights == sum(layer.weights for layer in SHAPE.layers[:3])
    assert other.weights == sum(layer.weights for layer in SHAPE.layers[3:]) + SHAPE.output + SHAPE.tied
    assert one.compute == other.compute > 0
    assert both.gpu.cache == plan(SHAPE, ContextParams(cells=256, gpu_layers=99)).gpu.cache


def test_a_gpu_without_a_layer_takes_no_memory() -> None:
    assert plan(SHAPE, ContextParams(cells=256, gpu_layers=99, shares=(1, 0))).gpus[1].total == 0
    assert plan(SHAPE, ContextParams(cells=256, gpu_layers=1, shares=(1, 3))).gpus[1].total == 0


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=4), st.integers(0, 6))
def test_however_gpus_share_they_hold_the_same_weights(shares: list[float], layers: int) -> None:
    split = plan(SHAPE, ContextParams(cells=256, gpu_layers=layers, shares=tuple(shares)))
    assert len(split.gpus) == len(shares)
    assert split.gpu.weights == plan(SHAPE, ContextParams(cells=256, gpu_layers=layers)).gpu.weights


def test_of_a_file_of_which_only_the_size_is_known_the_weights_are_planned() -> None:
    planned = plan(shape_of_size(12345), ContextParams(cells=256))
    assert (planned.ram.weights, planned.ram.cache, planned.shape.complete) == (12345, 0, False)


def test_the_manifest_s_facts_make_a_shape() -> None:
    told = ManifestShape(full_attention_layers=10, kv_heads=2, head_len=256, recurrent_layers=30, recurrent_state=7)
    planned = plan(told.of_size(41_000), ContextParams(cells=1024))
    assert planned.ram.cache == 10 * 2 * (256 + 256) * 2 * 1024
    assert planned.ram.states == (8 + 4) * 30 * 7
    assert planned.ram.weights == 41_000

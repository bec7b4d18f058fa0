"""Placement: what fits where, decided from facts alone."""

import pytest

from localrouter.engine.messages import LoadOptions
from localrouter.engine.placement import (
    POOL,
    DoesNotFit,
    cache_size,
    fewest_fast_threads,
    free_memory,
    layers_on_gpu,
    physical_cores,
    shape_of,
)

GIB = 1 << 30


def test_a_cell_takes_keys_and_values_of_all_layers() -> None:
    shape = shape_of(
        {
            "block_count": "28",
            "embedding_length": "1024",
            "attention.head_count": "16",
            "attention.head_count_kv": "8",
            "attention.key_length": "128",
            "attention.value_length": "128",
        }
    )

    assert shape.bytes_per_cell == 28 * 8 * 256 * 2


def test_lengths_default_to_the_embedding_divided_by_the_heads() -> None:
    shape = shape_of({"block_count": "2", "embedding_length": "64", "attention.head_count": "4"})

    assert (shape.kv_heads, shape.key_length) == (4, 16)


def test_a_hybrid_has_attention_in_every_nth_layer_only() -> None:
    assert shape_of({"block_count": "40", "full_attention_interval": "4"}).attention_layers == 10


def test_where_layers_differ_the_largest_counts() -> None:
    assert shape_of({"block_count": "3", "attention.head_count_kv": "[1, 8, 2]"}).kv_heads == 8


def test_without_a_gpu_nothing_is_offloaded() -> None:
    assert layers_on_gpu("all", layers=28, weights=GIB, cache=GIB, free=None) == 0


@pytest.mark.parametrize(("free", "offloaded"), [(100 * GIB, 29), (2 * GIB, 26), (GIB // 1000, 0)])
def test_auto_offloads_what_fits(free: int, offloaded: int) -> None:
    assert layers_on_gpu("auto", layers=28, weights=GIB, cache=GIB, free=free) == offloaded


def test_a_number_of_layers_is_taken_as_it_is_up_to_all() -> None:
    assert layers_on_gpu(7, layers=28, weights=GIB, cache=GIB, free=1) == 7
    assert layers_on_gpu(99, layers=28, weights=GIB, cache=GIB, free=1) == 29


def test_the_context_is_what_the_model_was_trained_for_and_the_pool_is_larger() -> None:
    assert cache_size(LoadOptions(), trained=2048, bytes_per_cell=2048, free=8 * GIB) == (2048, POOL)


def test_a_pool_that_memory_does_not_hold_shrinks_and_the_context_with_it() -> None:
    context, cells = cache_size(LoadOptions(), trained=262_144, bytes_per_cell=1 << 20, free=8 * GIB)

    assert context == cells == 2048


def test_an_asked_for_context_makes_the_pool_large_enough() -> None:
    options = LoadOptions(context=100_000)

    assert cache_size(options, trained=2048, bytes_per_cell=1, free=GIB) == (100_000, 100_000)


def test_an_asked_for_pool_bounds_the_context() -> None:
    assert cache_size(LoadOptions(cells=1000), trained=2048, bytes_per_cell=1, free=GIB) == (1000, 1000)


def test_too_little_memory_for_a_useful_cache_is_told() -> None:
    with pytest.raises(DoesNotFit, match="512 MiB"):
        cache_size(LoadOptions(), trained=2048, bytes_per_cell=1 << 20, free=GIB)


@pytest.mark.parametrize(
    ("seconds", "threads"),
    [({1: 1.0, 2: 0.9, 4: 0.85}, 1), ({1: 1.0, 2: 0.6, 4: 0.57}, 2), ({1: 1.0, 2: 0.6, 4: 0.3}, 4)],
)
def test_a_thread_that_hardly_helps_is_not_taken(seconds: dict[int, float], threads: int) -> None:
    assert fewest_fast_threads(4, seconds.__getitem__) == threads


def test_the_machine_can_be_asked() -> None:
    assert physical_cores() >= 1
    assert free_memory() > 0

"""Pool: sizes that a model is loaded with, a pure function of facts, and consistent with `fit`."""

from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrouter.load_options import LoadOptions
from localrouter.memory.fit import Place, fit
from localrouter.memory.machine import Gpu, Machine
from localrouter.memory.plan import ROWS_ON_GPU, ContextParams
from localrouter.memory.pool import ALL_LAYERS, FEWEST_CELLS, POOL, DoesNotFit, Pool, pool_for
from localrouter.memory.shape import Layer, Shape, Widths, shape_of_size

GB = 10**9


def shape(gigabytes: float, *, trained: int | None = 262_144, cell: int = 40_960) -> Shape:
    """Ten layers that share the weights, and `cell` bytes of cache in a cell."""
    layers = (Layer(int(gigabytes * GB / 10), keys=cell // 40, values=cell // 40),) * 10
    return Shape("file", layers, embedding=0, output=0, trained=trained)


def sliding(gigabytes: float) -> Shape:
    """The same, of which eight layers see a window of 256 tokens only."""
    plain = shape(gigabytes)
    layers = tuple(replace(layer, sliding=number % 5 < 4) for number, layer in enumerate(plain.layers))
    return replace(plain, layers=layers, window=256)


def machine(ram: float, gpu: float = 0, *, unified: bool = False) -> Machine:
    gpus = (Gpu("a GPU", int(gpu * GB), int(gpu * GB)),) if gpu else ()
    return Machine(int(ram * GB), int(ram * GB), gpus, unified)


def cells_of(pool: Pool) -> int:
    return pool.plan.params.cells


def test_where_there_is_room_the_pool_is_full_and_the_context_is_the_trained_one() -> None:
    pool = pool_for(shape(1, trained=2048), LoadOptions(), machine(ram=32))
    assert (pool.context, cells_of(pool), pool.gpu_layers) == (2048, POOL, 0)


def test_an_unknown_context_is_the_pool() -> None:
    assert pool_for(shape(1, trained=None), LoadOptions(), machine(ram=32)).context == POOL


def test_the_cache_takes_a_quarter_of_the_memory_beside_the_weights() -> None:
    pool = pool_for(shape(1), LoadOptions(), machine(ram=3))
    assert pool.plan.ram.cache <= 0.25 * 2 * GB < pool.plan.ram.cache + 256 * 40_960
    assert pool.context == cells_of(pool)


def test_a_quarter_that_holds_too_little_is_exceeded_where_the_whole_fits() -> None:
    pool = pool_for(shape(1, cell=1 << 20), LoadOptions(), machine(ram=1.75))
    assert cells_of(pool) == FEWEST_CELLS


def test_compute_buffers_and_logits_take_cells_away() -> None:
    """The quarter would hold 1,024 cells; beside what llama.cpp needs to compute there is room for less."""
    large = replace(shape(1, cell=1 << 20), widths=Widths(width=550_000))
    pool = pool_for(large, LoadOptions(), machine(ram=5.3))
    alone = pool_for(shape(1, cell=1 << 20), LoadOptions(), machine(ram=5.3))
    assert FEWEST_CELLS < cells_of(pool) < cells_of(alone) == 1024


def test_sizes_in_the_options_are_taken_as_they_are() -> None:
    on = machine(ram=3)
    assert cells_of(pool_for(shape(1), LoadOptions(cells=20_000), on)) == 20_000
    assert cells_of(pool_for(shape(1), LoadOptions(cells=150), on)) == 150
    assert cells_of(pool_for(shape(1), LoadOptions(context=20_000), on)) == 20_000
    assert pool_for(shape(1, trained=2048), LoadOptions(context=100_000), machine(ram=32)).context == 100_000


def test_an_asked_for_pool_bounds_the_context() -> None:
    assert pool_for(shape(1), LoadOptions(cells=1000), machine(ram=32)).context == 1000
    assert pool_for(shape(1), LoadOptions(cells=1000, context=600), machine(ram=32)).context == 600


def refusal(shape: Shape, options: LoadOptions, on: Machine) -> str:
    with pytest.raises(DoesNotFit) as caught:
        pool_for(shape, options, on)
    return str(caught.value)


def test_a_model_that_is_too_large_is_refused_with_both_sizes_and_advice() -> None:
    assert refusal(shape(20), LoadOptions(), machine(ram=10)) == (
        "with a cache of 512 tokens it needs 20 GB of RAM, and 9.0 GB can be had, 90% of what is free. Take a smaller "
        "build, or free some memory. With extra_buffers=off the weights stay in their file and need not fit, which is "
        "slow."
    )


def test_a_context_that_is_too_large_is_told() -> None:
    said = refusal(shape(1), LoadOptions(context=1_000_000), machine(ram=10))
    assert "with a cache of 1,000,000 tokens it needs 43 GB" in said
    assert said.endswith("Take a smaller build, or a smaller context, or free some memory.")


def test_memory_on_the_gpu_is_named_separately() -> None:
    said = refusal(shape(20), LoadOptions(), machine(ram=10, gpu=5))
    assert "it needs 16 GB of RAM beside 4.0 GB on the GPU, and 9.0 GB can be had" in said


def test_weights_that_stay_in_their_file_need_not_fit() -> None:
    pool = pool_for(shape(20), LoadOptions(extra_buffers="off"), machine(ram=10))
    assert cells_of(pool) == FEWEST_CELLS
    with pytest.raises(DoesNotFit):
        pool_for(shape(20), LoadOptions(extra_buffers="off", cells=250_000), machine(ram=10))


def test_a_pool_shrinks_until_all_layers_are_on_the_gpu() -> None:
    """With the pool that a quarter of the rest holds, one layer would be left over."""
    wide = replace(shape(10), vocabulary=262_144, widths=Widths(width=5120, feed_forward=100_000))
    pool = pool_for(wide, LoadOptions(), machine(ram=32, gpu=12.4))
    assert (pool.gpu_layers, pool.plan.params.rows) == (ALL_LAYERS, ROWS_ON_GPU)
    assert cells_of(pool) > FEWEST_CELLS
    more = ContextParams(cells=cells_of(pool) + 256)
    assert fit(wide, more, machine(ram=32, gpu=12.4)).place is Place.BOTH


def test_a_gpu_that_is_smaller_than_the_model_takes_some_layers() -> None:
    pool = pool_for(shape(10), LoadOptions(), machine(ram=32, gpu=8))
    assert 0 < pool.gpu_layers < 10
    assert cells_of(pool) == POOL


@pytest.mark.parametrize(("wanted", "told"), [(7, 7), (99, 99), (0, 0), ("all", ALL_LAYERS)])
def test_a_number_of_layers_in_the_options_is_taken_as_it_is(wanted: int | Literal["all"], told: int) -> None:
    options = LoadOptions(gpu_layers=wanted)
    assert pool_for(shape(10), options, machine(ram=32, gpu=1)).gpu_layers == told
    assert pool_for(shape(10), options, machine(ram=32)).gpu_layers == 0


def test_of_a_file_of_which_only_the_size_is_known_all_layers_go_to_a_gpu_that_holds_it() -> None:
    pool = pool_for(shape_of_size(5 * GB), LoadOptions(), machine(ram=32, gpu=8))
    assert (pool.gpu_layers, cells_of(pool)) == (ALL_LAYERS, POOL)
    assert pool_for(shape_of_size(5 * GB), LoadOptions(gpu_layers=3), machine(ram=32, gpu=8)).gpu_layers == 3


def test_sliding_layers_hold_the_whole_context_where_that_fits() -> None:
    pool = pool_for(sliding(1), LoadOptions(context=100_000), machine(ram=6))
    assert pool.plan.params.swa_full
    assert pool.plan.ram.cache == 100_096 * 40_960


def test_sliding_layers_hold_windows_where_the_whole_context_does_not_fit() -> None:
    pool = pool_for(sliding(1), LoadOptions(context=100_000), machine(ram=5))
    assert (pool.context, pool.plan.params.swa_full) == (100_000, False)
    assert pool.plan.ram.cache < 0.25 * 100_096 * 40_960


def test_windows_are_taken_where_they_alone_bring_the_model_to_the_gpu() -> None:
    pool = pool_for(sliding(1), LoadOptions(context=100_000), machine(ram=32, gpu=4))
    assert (pool.gpu_layers, pool.plan.params.swa_full) == (ALL_LAYERS, False)


def test_swa_full_in_the_options_is_taken_as_it_is() -> None:
    assert "it needs 5.2 GB" in refusal(sliding(1), LoadOptions(context=100_000, swa_full="on"), machine(ram=5))
    assert not pool_for(sliding(1), LoadOptions(swa_full="off"), machine(ram=32)).plan.params.swa_full


def test_a_refusal_tells_the_least_that_is_needed() -> None:
    assert "it needs 2.0 GB" in refusal(sliding(1), LoadOptions(context=100_000), machine(ram=1.5))


@pytest.mark.parametrize("layer", [Layer(100, keys=64), Layer(100, keys=64, sliding=True, state=1)])
def test_windows_are_for_models_with_sliding_layers_and_no_recurrent_ones(layer: Layer) -> None:
    model = Shape("file", (layer,), embedding=0, output=0, window=32)
    assert pool_for(model, LoadOptions(swa_full="off"), machine(ram=32)).plan.params.swa_full


def test_the_settings_of_the_cache_reach_the_plan() -> None:
    params = pool_for(
        shape(1), LoadOptions(kv_type="q4_0", flash_attention="auto", ubatch=64), machine(ram=32)
    ).plan.params
    assert (params.kv_type, params.flash_attention, params.ubatch) == ("q4_0", True, 64)
    assert not pool_for(shape(1), LoadOptions(flash_attention="off"), machine(ram=32)).plan.params.flash_attention


models = st.builds(lambda make, size: make(size), st.sampled_from([shape, sliding]), st.floats(0.1, 50))
machines = st.builds(machine, ram=st.floats(0.5, 100), gpu=st.floats(0, 100), unified=st.booleans())


@given(models, machines, st.sampled_from([256, 512, 4096, 65_536, 262_144]))
def test_a_model_is_loaded_where_fit_places_it(model: Shape, on: Machine, cells: int) -> None:
    found = fit(model, ContextParams(cells=cells), on)
    if found.place is Place.NOWHERE:
        with pytest.raises(DoesNotFit):
            pool_for(model, LoadOptions(cells=cells), on)
        return
    pool = pool_for(model, LoadOptions(cells=cells), on)
    assert (pool.plan, min(pool.gpu_layers, 11)) == (found.plan, found.layers_on_gpu)
    assert cells_of(pool_for(model, LoadOptions(context=cells), on)) >= cells


@given(models, machines)
def test_automatic_sizes_fit_too(model: Shape, on: Machine) -> None:
    if fit(model, ContextParams(cells=FEWEST_CELLS), on).place is Place.NOWHERE:
        with pytest.raises(DoesNotFit):
            pool_for(model, LoadOptions(), on)
        return
    pool = pool_for(model, LoadOptions(), on)
    assert FEWEST_CELLS <= cells_of(pool) <= POOL
    assert fit(model, ContextParams(cells=cells_of(pool)), on).plan == pool.plan

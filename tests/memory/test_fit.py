from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from localrouter.memory.fit import SHARE, FitChoice, Place, choose, fit, place_of
from localrouter.memory.machine import Gpu, Machine
from localrouter.memory.plan import ContextParams, plan
from localrouter.memory.shape import Layer, Shape, shape_of_size

GB = 10**9


def shape(gigabytes: float, *, trained: int | None = 32_768) -> Shape:
    """Ten layers that share the weights; 40 kB of cache in a cell."""
    layers = (Layer(int(gigabytes * GB / 10), keys=1024, values=1024),) * 10
    return Shape("file", layers, embedding=0, output=0, trained=trained)


def machine(ram: float, gpu: float = 0, *, unified: bool = False) -> Machine:
    gpus = (Gpu("a GPU", int(gpu * GB), int(gpu * GB)),) if gpu else ()
    return Machine(int(ram * GB), int(ram * GB), gpus, unified)


def fitted(size: float, on: Machine, cells: int = 1024) -> tuple[Place, int]:
    found = fit(shape(size), ContextParams(cells=cells), on)
    return found.place, found.layers_on_gpu


def test_a_model_goes_onto_the_gpu_as_a_whole_if_it_can() -> None:
    assert fitted(5, machine(ram=32, gpu=8)) == (Place.GPU, 11)


def test_layers_that_the_gpu_cannot_hold_stay_in_ram() -> None:
    place, layers = fitted(10, machine(ram=32, gpu=8))
    assert place is Place.BOTH
    assert layers == 8  # seven of a gigabyte, and the output layer


def test_without_a_gpu_it_goes_into_ram() -> None:
    assert fitted(10, machine(ram=16)) == (Place.RAM, 0)


def test_a_model_that_is_too_large_fits_nowhere_and_is_planned_for_the_cpu() -> None:
    found = fit(shape(100), ContextParams(cells=1024), machine(ram=16, gpu=8))
    assert (found.place, found.longest) == (Place.NOWHERE, 0)
    assert found.plan.ram.total > 100 * GB


def test_unified_memory_is_counted_once() -> None:
    assert fitted(10, machine(ram=11, gpu=12))[0] is Place.GPU
    assert fitted(10, machine(ram=11, gpu=11, unified=True))[0] is Place.NOWHERE
    assert fitted(10, machine(ram=12, gpu=12, unified=True))[0] is Place.GPU


def test_a_cache_can_be_too_large_where_the_weights_fit() -> None:
    assert fitted(1, machine(ram=4), cells=32_768)[0] is Place.RAM
    assert fitted(1, machine(ram=4), cells=100_000)[0] is Place.NOWHERE


def test_the_longest_context_fits_and_a_longer_one_does_not() -> None:
    small = machine(ram=2)
    longest = fit(shape(1), ContextParams(cells=256), small).longest
    assert 256 < longest < 32_768
    assert place_of(shape(1), small, longest) is Place.RAM
    assert place_of(shape(1), small, longest + 256) is Place.NOWHERE


def test_the_longest_context_is_not_longer_than_the_model_was_trained_for() -> None:
    assert fit(shape(1, trained=5000), ContextParams(cells=256), machine(ram=64)).longest == 5000


def test_parallel_conversations_share_the_memory() -> None:
    one = fit(shape(1), ContextParams(cells=256), machine(ram=2)).longest
    four = fit(shape(1), ContextParams(cells=1024), machine(ram=2), parallel=4).longest
    assert 0 < four <= one // 4


def test_of_an_unknown_shape_no_longest_context_is_claimed() -> None:
    found = fit(shape_of_size(GB), ContextParams(cells=256), machine(ram=2))
    assert (found.place, found.longest) == (Place.RAM, 0)


def test_the_largest_build_that_fits_is_chosen() -> None:
    builds = [shape(20), shape(9), shape(4)]
    assert choose(builds, machine(ram=12)) == FitChoice(1, "the largest of 3 on disk that fits in 11 GB")
    assert choose(builds, machine(ram=64)).index == 0


def test_of_equal_builds_the_first_is_chosen() -> None:
    assert choose([shape(4), shape(4)], machine(ram=12)).index == 0


def test_when_none_fits_the_smallest_is_chosen_and_the_reason_names_it() -> None:
    found = choose([shape(20), shape(9)], machine(ram=4))
    assert found == FitChoice(1, "the smallest of 2 on disk; none fits in 3.6 GB", fits=False)


def test_a_build_of_unknown_size_counts_as_too_large() -> None:
    unknown, on = shape_of_size(0), machine(ram=64)
    assert choose([unknown, shape(1)], on).index == 1
    assert choose([unknown, shape(100)], on) == FitChoice(
        1, "the smallest of 2 on disk; none fits in 58 GB", fits=False
    )
    assert not choose([unknown, unknown], on).fits


def test_the_reason_names_the_set_of_builds() -> None:
    assert choose([shape(1)] * 2, machine(ram=64), among="builds").reason.startswith("the largest of 2 builds that")


def test_a_build_that_fits_onto_the_gpu_goes_before_a_larger_one_that_does_not() -> None:
    builds = [shape(20), shape(9), shape(4)]
    found = choose(builds, machine(ram=64, gpu=12))
    assert found == FitChoice(1, "the largest of 3 on disk that fits in 11 GB of GPU memory")
    assert choose(builds[:1] * 2, machine(ram=64, gpu=12)).index == 0


def test_a_longer_context_can_mean_a_smaller_build() -> None:
    builds = [shape(9), shape(4)]
    assert [choose(builds, machine(ram=12), cells).index for cells in (8192, 100_000)] == [0, 1]


@given(st.floats(0.1, 50), st.floats(0.5, 100), st.floats(0, 100), st.booleans(), st.sampled_from([256, 4096, 65_536]))
def test_a_plan_that_fits_is_within_the_memory(size: float, ram: float, gpu: float, unified: bool, cells: int) -> None:
    on = machine(ram, gpu, unified=unified)
    found = fit(shape(size), ContextParams(cells=cells), on)
    if found.place is Place.NOWHERE:
        return
    assert found.plan.gpu.total <= SHARE * on.gpu_free
    assert (found.plan.both if unified else found.plan.ram).total <= SHARE * on.ram_free
    more = replace(found.plan.params, gpu_layers=found.layers_on_gpu + 1, rows=512)
    assert found.layers_on_gpu == 11 or not on.gpus or plan(shape(size), more).gpu.total > SHARE * on.gpu_free

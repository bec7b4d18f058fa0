"""What may stay in the cache of conversations that have ended, by what it costs the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrouter.engine.backends.llama.capacity import limits_of
from localrouter.memory.machine import Machine
from localrouter.memory.plan import ContextParams, Memory, Plan
from localrouter.memory.shape import shape_of_size

CELLS = 32_768
MACHINE = Machine(ram_total=64 << 30, ram_free=32 << 30)


def idle_cells(weights: int, cache: int) -> int:
    plan = Plan(shape_of_size(weights), ContextParams(cells=CELLS), Memory(weights=weights, cache=cache), ())
    idle = limits_of(plan, MACHINE, cache_ram=0, recurrent=True).idle_cells
    assert idle is not None
    return idle


@pytest.mark.parametrize(
    ("weights", "cell", "idle"),
    [
        (36_000_000_000, 20_480, CELLS // 2),  # Qwen3.5 35B-A3B: attention in ten of forty layers
        (633_000_000, 114_688, CELLS // 16),  # Qwen3 0.6B: in all
        (2_000_000_000, 40_000, 5_000),
    ],
)
def test_as_many_cells_stay_as_are_a_tenth_of_the_weights(weights: int, cell: int, idle: int) -> None:
    assert idle_cells(weights, cell * CELLS) == idle


@given(st.integers(1, 10**12), st.integers(0, 10**12))
def test_never_more_than_half_nor_less_than_a_sixteenth(weights: int, cache: int) -> None:
    assert CELLS // 16 <= idle_cells(weights, cache) <= CELLS // 2


def test_with_a_host_store_no_idle_cells_stay_in_the_cache() -> None:
    weights = 633_000_000
    plan = Plan(shape_of_size(weights), ContextParams(cells=CELLS), Memory(weights=weights, cache=1 << 30), ())

    assert limits_of(plan, MACHINE, cache_ram=1000, recurrent=False).idle_cells == 0
    assert limits_of(plan, MACHINE, cache_ram=0, recurrent=False).idle_cells == CELLS // 16

"""The pace: steps take about as long as agreed, on fast machines and on slow ones."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrouter.engine.cost import Cost, Work
from localrouter.engine.pace import Pace

TILE = 64


@dataclass(frozen=True)
class Machine:
    """What a row costs in a whole tile and in smaller steps, and what it costs for each cell it looks at."""

    row: float
    small: float = 1.0
    """How many times longer rows take in steps that are smaller than a tile."""
    cell: float = 0.0

    def seconds(self, work: Work) -> float:
        tiles = -(-work.rows // TILE)
        if work.rows >= TILE:
            return work.rows * self.row + tiles * TILE * work.cells * self.cell
        return self.small * (work.rows * self.row + 4 * work.looks * self.cell)


def step(pace: Pace, machine: Machine, *, decoding: int = 1, prompts: int = 1, context: int = 0) -> float:
    """Take one step; return its seconds."""
    rows = pace.rows(Work(decoding, decoding, decoding), prompts, context)
    work = Work(rows + decoding, context + rows + decoding, rows * context + decoding)
    pace.took(machine.seconds(work), work)
    return machine.seconds(work)


def learned(machine: Machine, budget: float = 0.2, *, most: int = 512, pads: bool = False) -> Pace:
    """A pace that has seen a prompt of 512 tokens being read."""
    pace = Pace(budget, most=most, tile=TILE, pads=pads)
    for context in range(0, 512, 128):
        work = Work(128, context + 128, 128 * (context + 64))
        pace.took(machine.seconds(work), work)
    return pace


@pytest.mark.parametrize("cost", [1e-5, 1e-4, 1e-3, 3e-3])
def test_after_a_few_steps_none_is_longer_than_the_budget(cost: float) -> None:
    pace = Pace(0.2, most=511)

    seconds = [step(pace, Machine(cost)) for _ in range(10)]

    assert max(seconds[3:]) <= 0.2
    assert min(seconds[3:]) >= min(0.1, 512 * cost)


def test_steps_get_smaller_as_the_context_grows() -> None:
    machine = Machine(1e-4, cell=1e-6)
    pace = learned(machine)

    sizes = [pace.rows(Work(1, 1, 1), 1, context) + 1 for context in (0, 1000, 10_000)]

    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]
    assert all(step(pace, machine, context=context) <= 0.2 for context in (0, 500, 1000, 2000))


@pytest.mark.parametrize("decoding", [1, 5, 63, 64, 65, 200])
def test_running_streams_and_prompts_fill_whole_tiles_together(decoding: int) -> None:
    pace = learned(Machine(1e-3), most=1000)

    assert (pace.rows(Work(decoding), 1) + decoding) % TILE == 0


def test_a_tile_that_is_too_long_gives_way_to_fewer_rows() -> None:
    patient = Pace(0.1, most=512)
    assert max(step(patient, Machine(2e-3, small=5)) for _ in range(10)) == pytest.approx(64 * 2e-3)
    pace = Pace(0.1, most=512)

    seconds = [step(pace, Machine(5e-3, small=2)) for _ in range(12)]

    assert seconds[0] == pytest.approx(64 * 5e-3)
    assert max(seconds[6:]) <= 0.1


def test_a_machine_too_slow_for_the_budget_still_goes_on() -> None:
    pace = Pace(0.01, most=512)
    for _ in range(5):
        step(pace, Machine(10.0))

    assert pace.rows(Work(1), 1) == 7


@pytest.mark.parametrize(("cost", "rows"), [(1e-6, 512), (1e-3, 192), (1.0, 128)])
def test_while_nobody_is_decoding_steps_are_two_tiles_at_least(cost: float, rows: int) -> None:
    assert learned(Machine(cost)).rows(Work(), 1) == rows


def test_many_waiting_prompts_get_longer_steps() -> None:
    pace = learned(Machine(1e-3), 0.1)

    assert [pace.rows(Work(2), prompts) + 2 for prompts in (1, 2, 4, 8)] == [64, 64, 192, 384]


def test_a_step_is_filled_up_to_a_tile_where_that_is_faster() -> None:
    machine = Machine(1e-3, cell=2e-6)
    pace = learned(machine, pads=True)

    padding = {(rows, cells): pace.padding(Work(rows, cells, rows * cells)) for rows in (8, 60) for cells in (10, 4000)}

    assert padding == {(8, 10): 0, (60, 10): 0, (8, 4000): 0, (60, 4000): 4}


def test_a_whole_tile_is_not_filled_up() -> None:
    pace = learned(Machine(1e-3, cell=2e-6), pads=True)

    assert [pace.padding(Work(rows, 4000, rows * 4000)) for rows in (64, 65, 128)] == [0, 0, 0]


def test_rows_that_each_look_at_few_of_many_cells_are_not_filled_up() -> None:
    """In a tile all would look at the cells of all."""
    pace = learned(Machine(1e-4, cell=2e-6), pads=True)

    assert pace.padding(Work(60, 60 * 100, 60 * 100)) == 0
    assert pace.padding(Work(60, 100, 60 * 100)) == 4


def test_nothing_is_filled_up_before_anything_is_known_or_where_it_is_not_wanted() -> None:
    work = Work(60, 4000, 60 * 4000)

    assert Pace(0.1, most=512, pads=True).padding(work) == 0
    assert learned(Machine(1e-3, cell=2e-6), pads=False).padding(work) == 0


def test_the_costs_of_rows_and_of_cells_are_told_apart() -> None:
    machine, cost = Machine(2e-3, cell=3e-6), Cost(TILE)
    for context in range(0, 2048, 128):
        work = Work(128, context + 128, 128 * (context + 64))
        cost.took(work, machine.seconds(work))

    assert cost.of(Work(64, 3000)) == pytest.approx(machine.seconds(Work(64, 3000)), rel=0.01)
    assert cost.of(Work(40, 3000, 40 * 3000)) == pytest.approx(machine.seconds(Work(40, 3000, 40 * 3000)), rel=0.01)


@given(
    most=st.integers(1, 1000),
    steps=st.lists(
        st.tuples(st.floats(0, 100), st.integers(0, 300), st.integers(1, 1000), st.integers(0, 10**6)), max_size=20
    ),
)
def test_there_is_always_at_least_one_row_and_never_too_many(
    most: int, steps: list[tuple[float, int, int, int]]
) -> None:
    pace = Pace(0.1, most=most, pads=True)
    for seconds, decoding, rows, context in steps:
        work = Work(decoding + rows, context + rows, (decoding + rows) * context)
        pace.took(seconds, work)
        assert 1 <= pace.rows(Work(decoding, decoding * context, decoding * context), 1, context) <= most
        assert 0 <= pace.padding(work) < TILE
        assert pace._cost.of(work) >= 0

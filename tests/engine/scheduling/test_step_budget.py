"""The pace: steps take about as long as agreed, on fast machines and on slow ones.

The machines are simulated from how the hardware computes, tile by tile; no figure of theirs comes from the code under
test, so what is asserted are seconds of a machine, and which of two sizes it computes faster.
"""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrouter.engine.scheduling.step_budget import StepBudget
from localrouter.engine.scheduling.step_cost import StepCost, StepWork

TILE = 64
BUDGET = 0.2


@dataclass(frozen=True)
class Machine:
    """A CPU with one kernel for whole tiles of rows, and a slower one for fewer rows."""

    row: float
    """Seconds of computing a row, attention aside."""
    weights: float = 0.0
    """Seconds of reading the weights, once in a step, while rows are computed."""
    look: float = 0.0
    """Seconds in which a row of a tile looks at a cell."""
    slowness: float = 4.0
    """How many times longer a row takes for a cell without a tile."""
    small: float = 1.0
    """How many times longer all of a step takes that is smaller than a tile."""

    def seconds(self, rows: int, cells: int, looks: int) -> float:
        """Of a step with so many rows that look at `cells` together, and `looks` times at a cell one by one."""
        computing = max(self.weights, rows * self.row)
        if rows < TILE:
            return self.small * (computing + looks * self.slowness * self.look)
        attention = 0.0
        for _ in range(0, rows, TILE):  # a tile that is begun takes as long as a whole one
            attention += TILE * cells * self.look
        return computing + attention

    def of(self, work: StepWork) -> float:
        return self.seconds(work.rows, work.cells, work.looks)


def next_work(pace: StepBudget, *, decoding: int = 1, prompts: int = 1, context: int = 0) -> StepWork:
    """Return what the pace puts into the next step: the running streams, and a part of a prompt behind `context`."""
    rows = pace.rows(StepWork(decoding, decoding, decoding), prompts, context)
    return StepWork(rows + decoding, context + rows + decoding, rows * (context + rows // 2) + decoding)


def run(pace: StepBudget, machine: Machine, steps: int, *, decoding: int = 1, context: int = 0) -> list[float]:
    """Take steps; return the seconds of each."""
    taken = []
    for _ in range(steps):
        work = next_work(pace, decoding=decoding, context=context)
        taken.append(machine.of(work))
        pace.took(taken[-1], work)
    return taken


def learned(machine: Machine, budget: float = BUDGET, *, most: int = 512, pads_to_tile: bool = False) -> StepBudget:
    """Return a pace that has seen this machine read a prompt of 512 tokens."""
    pace = StepBudget(budget, most=most, tile=TILE, pads_to_tile=pads_to_tile)
    for context in range(0, 512, 128):
        work = StepWork(128, context + 128, 128 * (context + 64))
        pace.took(machine.of(work), work)
    return pace


def rows_together(pace: StepBudget, decoding: int, prompts: int = 1, context: int = 0) -> int:
    return next_work(pace, decoding=decoding, prompts=prompts, context=context).rows


MACHINES = {
    "fast": Machine(1e-5),
    "bound by memory": Machine(1e-4, weights=0.02),
    "usual": Machine(1e-3, look=1e-7),
    "slow": Machine(3e-3, look=1e-6),
}
every_machine = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)


@every_machine
def test_after_a_few_steps_none_is_longer_than_the_budget(machine: Machine) -> None:
    seconds = run(StepBudget(BUDGET, most=511), machine, 10)

    assert max(seconds[3:]) <= BUDGET


@every_machine
def test_after_a_few_steps_another_tile_would_be_too_much(machine: Machine) -> None:
    pace = StepBudget(BUDGET, most=511)
    run(pace, machine, 10)

    work = next_work(pace)

    assert work.rows == 512 or machine.of(work + StepWork(TILE, TILE, TILE * work.rows)) > BUDGET


def test_steps_get_smaller_as_the_context_grows() -> None:
    pace = learned(Machine(1e-4, look=1e-6))

    sizes = [rows_together(pace, 1, context=context) for context in (0, 1000, 3000)]

    assert sizes[0] > sizes[1] > sizes[2]


@pytest.mark.parametrize("context", [0, 500, 1000, 2000])
def test_behind_any_context_steps_keep_to_the_budget(context: int) -> None:
    machine = Machine(1e-4, look=1e-6)

    assert max(run(learned(machine), machine, 5, context=context)) <= BUDGET


@pytest.mark.parametrize("decoding", [1, 5, 63, 64, 65, 200])
def test_running_streams_and_prompts_fill_whole_tiles_together(decoding: int) -> None:
    pace = learned(MACHINES["usual"], most=1000)

    assert rows_together(pace, decoding) % TILE == 0


def test_a_tile_that_is_a_little_too_long_is_taken_whole() -> None:
    machine = Machine(2e-3, small=5)
    pace = StepBudget(0.1, most=512)
    assert machine.seconds(TILE, TILE, 0) > 0.1

    run(pace, machine, 10)

    assert rows_together(pace, 1) == TILE


def test_a_tile_that_is_much_too_long_gives_way_to_fewer_rows() -> None:
    machine = Machine(5e-3, small=2)
    pace = StepBudget(0.1, most=512)
    assert machine.seconds(TILE, TILE, 0) > 2 * 0.1

    seconds = run(pace, machine, 12)

    assert max(seconds[6:]) <= 0.1
    assert rows_together(pace, 1) < TILE


def test_a_machine_too_slow_for_the_budget_still_goes_on() -> None:
    pace = StepBudget(0.01, most=512)
    run(pace, Machine(10.0), 5)

    assert 1 <= pace.rows(StepWork(1, 1, 1), 1) < TILE


@every_machine
def test_while_nobody_is_decoding_steps_are_longer_if_anything(machine: Machine) -> None:
    pace = learned(machine, 0.1)

    assert rows_together(pace, 0) >= max(2 * TILE, rows_together(pace, 1))


def test_many_waiting_prompts_get_longer_steps() -> None:
    pace = learned(MACHINES["usual"], 0.1)

    sizes = [rows_together(pace, 2, prompts) for prompts in (1, 2, 4, 8)]

    assert sizes[0] == sizes[1] < sizes[2] < sizes[3]


@pytest.mark.parametrize("rows", [8, 32, 60])
@pytest.mark.parametrize("cells", [10, 1000, 4000])
def test_a_step_is_filled_up_to_a_tile_only_where_that_is_faster(rows: int, cells: int) -> None:
    machine = Machine(1e-3, look=2e-6)
    work = StepWork(rows, cells, rows * cells)
    whole = machine.seconds(TILE, cells + TILE - rows, 0)

    padding = learned(machine, pads_to_tile=True).padding(work)

    if padding:
        assert padding == TILE - rows
        assert machine.of(work) > whole
    else:
        assert machine.of(work) < 1.2 * whole


def test_a_whole_tile_is_not_filled_up() -> None:
    pace = learned(Machine(1e-3, look=2e-6), pads_to_tile=True)

    assert [pace.padding(StepWork(rows, 4000, rows * 4000)) for rows in (64, 65, 128)] == [0, 0, 0]


def test_rows_that_each_look_at_few_of_many_cells_are_not_filled_up() -> None:
    """In a tile all would look at the cells of all."""
    pace = learned(Machine(1e-4, look=2e-6), pads_to_tile=True)

    assert pace.padding(StepWork(60, 60 * 100, 60 * 100)) == 0
    assert pace.padding(StepWork(60, 100, 60 * 100)) == 4


def test_nothing_is_filled_up_before_anything_is_known_or_where_it_is_not_wanted() -> None:
    work = StepWork(60, 4000, 60 * 4000)

    assert StepBudget(0.1, most=512, pads_to_tile=True).padding(work) == 0
    assert learned(Machine(1e-3, look=2e-6), pads_to_tile=False).padding(work) == 0


def test_what_was_learned_of_short_contexts_tells_how_long_steps_take_behind_long_ones() -> None:
    machine, cost = Machine(2e-3, look=3e-6), StepCost(TILE)
    for context in range(0, 2048, 128):
        work = StepWork(128, context + 128, 128 * (context + 64))
        cost.took(work, machine.of(work))

    for work in (StepWork(64, 300, 64 * 300), StepWork(64, 8000, 64 * 8000), StepWork(256, 4000, 256 * 4000)):
        assert cost.of(work) == pytest.approx(machine.of(work), rel=0.05)


def test_a_step_that_was_disturbed_is_forgotten_when_prompts_are_read_alone() -> None:
    machine = MACHINES["usual"]
    pace = learned(machine)
    before = rows_together(pace, 1)
    pace.took(5.0, StepWork(128, 128, 128 * 64))
    assert rows_together(pace, 1) < before

    run(pace, machine, 100, decoding=0)

    assert rows_together(pace, 1) == before


@given(
    most=st.integers(1, 1000),
    steps=st.lists(
        st.tuples(st.floats(0, 100), st.integers(0, 300), st.integers(1, 1000), st.integers(0, 10**6)), max_size=20
    ),
)
def test_there_is_always_at_least_one_row_and_never_too_many(
    most: int, steps: list[tuple[float, int, int, int]]
) -> None:
    pace = StepBudget(0.1, most=most, pads_to_tile=True)
    for seconds, decoding, rows, context in steps:
        work = StepWork(decoding + rows, context + rows, (decoding + rows) * context)
        pace.took(seconds, work)
        assert 1 <= pace.rows(StepWork(decoding, decoding * context, decoding * context), 1, context) <= most
        assert 0 <= pace.padding(work) < TILE
        assert pace._cost.of(work) >= 0

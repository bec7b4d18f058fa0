"""The token budget of a step and its latency model: steps keep to their time on fast machines and on slow ones.

The machines are simulated tile by tile, with numbers that are not from the code under test. So the tests compare the
seconds of a machine, and which of two sizes it computes faster.
"""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrouter.engine.scheduling.latency_model import LatencyModel, StepWork
from localrouter.engine.scheduling.step_budget import StepBudget

TILE = 64
SECONDS = 0.2


@dataclass(frozen=True)
class Machine:
    """A CPU with one kernel for whole tiles of rows, and a slower one for fewer rows."""

    row: float
    """Seconds of computing a row without attention."""
    weights: float = 0.0
    """Seconds of reading the weights, once per step, while rows are computed."""
    pair: float = 0.0
    """Seconds in which a row of a tile attends to a cell."""
    slowness: float = 4.0
    """How many times longer a row takes for a cell without a tile."""
    small: float = 1.0
    """How many times longer a step takes that is smaller than a tile."""

    def seconds(self, rows: int, cells: int, pairs: int) -> float:
        """Return the seconds of a step, whose rows attend to `cells` cells in `pairs` pairs of a row and a cell."""
        computing = max(self.weights, rows * self.row)
        if rows < TILE:
            return self.small * (computing + pairs * self.slowness * self.pair)
        attention = 0.0
        for _ in range(0, rows, TILE):  # an incomplete tile takes as long as a whole one
            attention += TILE * cells * self.pair
        return computing + attention

    def of(self, work: StepWork) -> float:
        return self.seconds(work.rows, work.cells, work.pairs)


def next_work(budget: StepBudget, *, decoding: int = 1, prompts: int = 1, context: int = 0) -> StepWork:
    """Return the size of the next step: the running streams, and a chunk of a prompt after `context` tokens."""
    rows = budget.rows(StepWork(decoding, decoding, decoding), prompts, context)
    return StepWork(rows + decoding, context + rows + decoding, rows * (context + rows // 2) + decoding)


def run(budget: StepBudget, machine: Machine, steps: int, *, decoding: int = 1, context: int = 0) -> list[float]:
    """Compute steps, and return the seconds of each."""
    taken = []
    for _ in range(steps):
        work = next_work(budget, decoding=decoding, context=context)
        taken.append(machine.of(work))
        budget.observe(work, taken[-1])
    return taken


def observing(
    machine: Machine, seconds: float = SECONDS, *, max_rows: int = 512, pads_to_tile: bool = False
) -> StepBudget:
    """Return a budget that has observed this machine compute a prompt of 512 tokens."""
    budget = StepBudget(seconds, max_rows=max_rows, tile=TILE, pads_to_tile=pads_to_tile)
    for context in range(0, 512, 128):
        work = StepWork(128, context + 128, 128 * (context + 64))
        budget.observe(work, machine.of(work))
    return budget


def rows_together(budget: StepBudget, decoding: int, prompts: int = 1, context: int = 0) -> int:
    return next_work(budget, decoding=decoding, prompts=prompts, context=context).rows


MACHINES = {
    "fast": Machine(1e-5),
    "bound by memory": Machine(1e-4, weights=0.02),
    "usual": Machine(1e-3, pair=1e-7),
    "slow": Machine(3e-3, pair=1e-6),
}
every_machine = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)


@every_machine
def test_after_a_few_steps_none_is_longer_than_the_budget(machine: Machine) -> None:
    seconds = run(StepBudget(SECONDS, max_rows=511), machine, 10)

    assert max(seconds[3:]) <= SECONDS


@every_machine
def test_after_a_few_steps_another_tile_would_be_too_much(machine: Machine) -> None:
    budget = StepBudget(SECONDS, max_rows=511)
    run(budget, machine, 10)

    work = next_work(budget)

    assert work.rows == 512 or machine.of(work + StepWork(TILE, TILE, TILE * work.rows)) > SECONDS


def test_steps_get_smaller_as_the_context_grows() -> None:
    budget = observing(Machine(1e-4, pair=1e-6))

    sizes = [rows_together(budget, 1, context=context) for context in (0, 1000, 3000)]

    assert sizes[0] > sizes[1] > sizes[2]


@pytest.mark.parametrize("context", [0, 500, 1000, 2000])
def test_after_any_context_steps_keep_to_the_budget(context: int) -> None:
    machine = Machine(1e-4, pair=1e-6)

    assert max(run(observing(machine), machine, 5, context=context)) <= SECONDS


@pytest.mark.parametrize("decoding", [1, 5, 63, 64, 65, 200])
def test_running_streams_and_prompts_fill_whole_tiles_together(decoding: int) -> None:
    budget = observing(MACHINES["usual"], max_rows=1000)

    assert rows_together(budget, decoding) % TILE == 0


def test_a_tile_that_is_a_little_too_long_is_taken_whole() -> None:
    machine = Machine(2e-3, small=5)
    budget = StepBudget(0.1, max_rows=512)
    assert machine.seconds(TILE, TILE, 0) > 0.1

    run(budget, machine, 10)

    assert rows_together(budget, 1) == TILE


def test_a_tile_that_is_much_too_long_is_cut_to_fewer_rows() -> None:
    machine = Machine(5e-3, small=2)
    budget = StepBudget(0.1, max_rows=512)
    assert machine.seconds(TILE, TILE, 0) > 2 * 0.1

    seconds = run(budget, machine, 12)

    assert max(seconds[6:]) <= 0.1
    assert rows_together(budget, 1) < TILE


def test_a_machine_too_slow_for_the_budget_still_makes_progress() -> None:
    budget = StepBudget(0.01, max_rows=512)
    run(budget, Machine(10.0), 5)

    assert 1 <= budget.rows(StepWork(1, 1, 1), 1) < TILE


@every_machine
def test_without_decoding_sequences_steps_are_at_least_as_long(machine: Machine) -> None:
    budget = observing(machine, 0.1)

    assert rows_together(budget, 0) >= max(2 * TILE, rows_together(budget, 1))


def test_many_waiting_prompts_get_longer_steps() -> None:
    budget = observing(MACHINES["usual"], 0.1)

    sizes = [rows_together(budget, 2, prompts) for prompts in (1, 2, 4, 8)]

    assert sizes[0] == sizes[1] < sizes[2] < sizes[3]


@pytest.mark.parametrize("rows", [8, 32, 60])
@pytest.mark.parametrize("cells", [10, 1000, 4000])
def test_a_step_is_padded_to_a_tile_only_where_that_is_faster(rows: int, cells: int) -> None:
    machine = Machine(1e-3, pair=2e-6)
    work = StepWork(rows, cells, rows * cells)
    whole = machine.seconds(TILE, cells + TILE - rows, 0)

    padding = observing(machine, pads_to_tile=True).padding(work)

    if padding:
        assert padding == TILE - rows
        assert machine.of(work) > whole
    else:
        assert machine.of(work) < 1.2 * whole


def test_a_whole_tile_is_not_padded() -> None:
    budget = observing(Machine(1e-3, pair=2e-6), pads_to_tile=True)

    assert [budget.padding(StepWork(rows, 4000, rows * 4000)) for rows in (64, 65, 128)] == [0, 0, 0]


def test_rows_that_each_attend_to_few_of_many_cells_are_not_padded() -> None:
    """In a tile each row would attend to the cells of all rows."""
    budget = observing(Machine(1e-4, pair=2e-6), pads_to_tile=True)

    assert budget.padding(StepWork(60, 60 * 100, 60 * 100)) == 0
    assert budget.padding(StepWork(60, 100, 60 * 100)) == 4


def test_no_step_is_padded_before_latencies_are_known_or_where_padding_is_off() -> None:
    work = StepWork(60, 4000, 60 * 4000)

    assert StepBudget(0.1, max_rows=512, pads_to_tile=True).padding(work) == 0
    assert observing(Machine(1e-3, pair=2e-6), pads_to_tile=False).padding(work) == 0


def test_latencies_observed_after_short_contexts_predict_those_after_long_ones() -> None:
    machine, model = Machine(2e-3, pair=3e-6), LatencyModel(TILE)
    for context in range(0, 2048, 128):
        work = StepWork(128, context + 128, 128 * (context + 64))
        model.observe(work, machine.of(work))

    for work in (StepWork(64, 300, 64 * 300), StepWork(64, 8000, 64 * 8000), StepWork(256, 4000, 256 * 4000)):
        assert model.seconds(work) == pytest.approx(machine.of(work), rel=0.05)


def test_an_outlier_is_forgotten_after_many_steps_of_prefill_alone() -> None:
    machine = MACHINES["usual"]
    budget = observing(machine)
    before = rows_together(budget, 1)
    budget.observe(StepWork(128, 128, 128 * 64), 5.0)
    assert rows_together(budget, 1) < before

    run(budget, machine, 100, decoding=0)

    assert rows_together(budget, 1) == before


@given(
    max_rows=st.integers(1, 1000),
    steps=st.lists(
        st.tuples(st.floats(0, 100), st.integers(0, 300), st.integers(1, 1000), st.integers(0, 10**6)), max_size=20
    ),
)
def test_there_is_always_at_least_one_row_and_never_too_many(
    max_rows: int, steps: list[tuple[float, int, int, int]]
) -> None:
    budget = StepBudget(0.1, max_rows=max_rows, pads_to_tile=True)
    for seconds, decoding, rows, context in steps:
        work = StepWork(decoding + rows, context + rows, (decoding + rows) * context)
        budget.observe(work, seconds)
        assert 1 <= budget.rows(StepWork(decoding, decoding * context, decoding * context), 1, context) <= max_rows
        assert 0 <= budget.padding(work) < TILE
        assert budget._latency.seconds(work) >= 0

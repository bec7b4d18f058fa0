"""The batch planner: which rows of the running sequences the next step computes (chunked prefill).

A step has one row for each sequence that is decoding. The rest of its token budget goes to prompts, in chunks, so that
a long prompt is computed over many steps and running streams get a token in each of them. Pure bookkeeping.
"""

from collections.abc import Sequence as SequenceOf
from dataclasses import replace

from localrouter.engine.scheduling.batch import Batch
from localrouter.engine.scheduling.engine_limits import EngineLimits
from localrouter.engine.scheduling.latency_model import StepWork
from localrouter.engine.scheduling.sequence import Sequence
from localrouter.engine.scheduling.step_budget import StepBudget

_OLDEST_FIRST = 4
"""Every so many steps the oldest prompt comes first, so that short prompts cannot delay a long one forever."""


class BatchPlanner:
    """Composes the batch of each step from the sequences that are running."""

    def __init__(self, limits: EngineLimits, step_seconds: float) -> None:
        """`step_seconds` is the time that a step should take at most."""
        self._limits = limits
        self._step_budget = StepBudget(
            step_seconds, max_rows=limits.prefill_rows, tile=limits.tile, pads_to_tile=limits.pads_to_tile
        )
        self._steps = 0

    def plan(self, running: SequenceOf[Sequence], *, waiting: int, cells_running: int, cells_free: int) -> Batch:
        """Return the rows of the next step; none if nothing is running.

        `waiting` is the number of sequences that wait for admission. `cells_running` are the KV cells of running
        sequences, shared ones counted once, and `cells_free` those that hold nothing.
        """
        self._steps += 1
        batch = Batch()
        for sequence in running:
            if sequence.is_decoding:
                batch.add(sequence, 1)
        if prompts := self._prompts(running):
            budget = self._token_budget(batch, prompts, waiting, cells_running)
            self._add_chunks(batch, prompts, budget, self._limits.max_outputs - len(running))
        if batch and self._limits.pads_to_tile:
            padding = self._step_budget.padding(_work(batch, cells_running))
            batch.padding = padding if len(batch) + padding <= cells_free else 0
        return batch

    def observe(self, batch: Batch, seconds: float, cells_running: int) -> None:
        """Learn from a batch that took `seconds`; `cells_running` is the number of KV cells before it.

        Rows with logits take longer than those of other prompts, so nothing is learned from prompts that are scored.
        """
        if batch.scored:
            return
        self._step_budget.observe(_work(batch, cells_running) + StepWork(batch.padding, batch.padding), seconds)

    def _prompts(self, running: SequenceOf[Sequence]) -> list[Sequence]:
        """Return the sequences in prefill in the order in which they get rows, the shortest remaining prompt first.

        What remains of a prompt ends at its next chunk boundary. A recurrent model computes one prompt per step.
        """
        prompts = [sequence for sequence in running if not sequence.is_decoding]
        if self._steps % _OLDEST_FIRST:
            prompts.sort(key=lambda sequence: sequence.until_boundary)
        return prompts[:1] if self._limits.recurrent else prompts

    def _token_budget(self, decoding: Batch, prompts: list[Sequence], waiting: int, cells_running: int) -> int:
        """Return the number of prompt tokens for the next step.

        It depends on the cells that prompts attend to, and the budget on how many prompts share it: so prompts are
        added one by one until they use it up.
        """
        work = _work(decoding, cells_running)
        budget = wanted = cells = 0
        for sequence in prompts:
            cells = min(cells + sequence.computed, cells_running)
            budget = max(wanted, self._step_budget.rows(work, len(prompts) + waiting, cells))
            wanted += self._max_chunk(sequence)
            if wanted >= budget:
                break
        return budget

    def _add_chunks(self, batch: Batch, prompts: list[Sequence], budget: int, spare_outputs: int) -> None:
        """Add chunks of prompts, `budget` tokens together, to the rows that are decoding.

        At most `spare_outputs` of these rows have logits for log probabilities of prompts.
        """
        is_alone = len(prompts) == 1 and not batch.chunks
        for sequence in prompts:
            count = min(budget, self._max_chunk(sequence))
            if (scores := sequence.prompt_scores) is not None and not scores.is_complete:
                count = min(count, scores.max_chunk(sequence.computed, spare_outputs - batch.scored_outputs))
            elif is_alone and self._limits.can_fork_anywhere:
                count = _remainder_first(count, sequence.pending, self._limits.tile)
            if count:
                batch.add(sequence, count)
            budget -= count

    def _max_chunk(self, sequence: Sequence) -> int:
        """Return how many tokens of a prompt can be computed in one step: up to the next boundary if it has states."""
        return sequence.pending if self._limits.can_fork_anywhere else sequence.until_boundary


def _work(batch: Batch, cells_running: int) -> StepWork:
    """Return the size of a batch, cells that sequences share counted once."""
    work = batch.work
    if len(batch.chunks) == 1:
        return work
    return replace(work, cells=min(work.cells, cells_running + len(batch)))


def _remainder_first(count: int, pending: int, tile: int) -> int:
    """Return a chunk of at most `count` tokens after which whole tiles remain of a prompt's `pending` tokens.

    The incomplete tile is cheapest at the start, because each row at the end attends to all tokens before it.
    """
    if count >= pending:
        return count
    missing = -(pending - count) % tile
    return count - missing if missing < count else count

"""The engine on a backend that fails: which requests end with an error, and which are served all the same."""

from dataclasses import replace

import numpy as np
from conversations import ask, end_of, run, text_of

from localrouter.engine.backends.base import BatchRefused, CacheFull, Logits
from localrouter.engine.backends.echo import EchoBackend
from localrouter.engine.engine import Engine
from localrouter.engine.scheduling.batch import Batch
from localrouter.load_options import LoadOptions


class FailingBackend(EchoBackend):
    """Raises the given exception in the n-th step, or returns the given number for all logits of a row."""

    def __init__(self, step: int, failure: Exception | float) -> None:
        super().__init__(LoadOptions(context=400))
        self.steps_left, self.failure = step, failure

    def decode(self, batch: Batch) -> Logits:
        self.steps_left -= 1
        if self.steps_left == 0 and isinstance(self.failure, Exception):
            raise self.failure
        logits = super().decode(batch)
        if self.steps_left == 0 and isinstance(self.failure, float):
            logits[0] = self.failure
        return logits


def test_a_full_cache_preempts_the_newest_request_and_no_text_is_lost() -> None:
    events = run(Engine(FailingBackend(3, CacheFull())), ask(1, "hello"), ask(2, "world"))

    assert [text_of(events, 1), text_of(events, 2)] == ["hello", "world"]


class SmallerBackend(EchoBackend):
    """Has room for fewer cells than its limits say."""

    def decode(self, batch: Batch) -> Logits:
        if self.cells_used + len(batch) > 150:
            raise CacheFull
        return super().decode(batch)


def test_requests_that_the_backend_cannot_hold_together_are_served_one_after_the_other() -> None:
    engine, texts = Engine(SmallerBackend(LoadOptions(context=400))), ["x" * 50, "y" * 50, "z" * 50]
    events = [engine.submit(ask(number, text)) for number, text in enumerate(texts)]
    for _ in range(200):
        events += engine.step()

    assert [text_of(events, number) for number in range(3)] == texts


def test_a_cache_that_cannot_hold_one_conversation_ends_it_with_an_error() -> None:
    events = run(Engine(FailingBackend(3, CacheFull())), ask(1, "hello"))

    assert (end_of(events, 1).reason, end_of(events, 1).code) == ("error", "cache_full")


def test_a_refused_batch_ends_its_requests_and_the_engine_serves_others() -> None:
    engine = Engine(FailingBackend(3, BatchRefused("why")))
    events = run(engine, ask(1, "hello"), ask(2, "world"))

    assert [end_of(events, number).message for number in (1, 2)] == ["why", "why"]
    assert text_of(run(engine, ask(3, "again")), 3) == "again"


class BrokenCellsBackend(EchoBackend):
    """Returns NaN as logits of every row that attends to a cell of its first step."""

    first = 0

    def decode(self, batch: Batch) -> Logits:
        logits = super().decode(batch)
        self.first = self.first or next(self._numbers)
        for row, output in enumerate(batch.outputs):
            if any(cell < self.first for _, cell in self._slots[batch.slots[output]]):
                logits[row] = np.nan
        return logits


def test_cells_that_lead_to_not_finite_logits_are_not_shared_again() -> None:
    engine = Engine(BrokenCellsBackend(LoadOptions(context=2000)))
    engine.submit(ask(1, "a" * 600))
    engine.step()
    engine.cancel(1)

    codes = [end_of(run(engine, ask(number, "a" * 20 + str(number))), number).code for number in (2, 3, 4)]

    assert codes == ["not_finite", None, None]


class UncopyableBackend(EchoBackend):
    """Has no memory for copies of cells."""

    def __init__(self, options: LoadOptions) -> None:
        super().__init__(options)
        self.limits = replace(self.limits, host_store_cells=4000, idle_cells=0)

    def store(self, handle: int, slot: int, start: int, end: int) -> bool:
        return False

    def forget(self, handle: int) -> None:
        pass


def test_cells_that_cannot_be_offloaded_are_tried_once_and_evicted_for_a_running_request() -> None:
    engine = Engine(UncopyableBackend(LoadOptions(context=2000)))
    run(engine, ask(1, "a" * 900))

    assert sum(engine.run_idle_work() for _ in range(100)) < 100
    events = run(engine, ask(2, "b"))

    assert text_of(events, 2) == "b"
    assert engine.gauge.cells_cached < 900


def test_not_finite_logits_end_one_request_and_not_the_other_of_the_batch() -> None:
    events = run(Engine(FailingBackend(3, np.nan)), ask(1, "hello"), ask(2, "world"))

    assert end_of(events, 1).code == "not_finite"
    assert text_of(events, 2) == "world"

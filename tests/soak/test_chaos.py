"""Random requests with faults, on one model of each kind of cache: nothing leaks, and every request ends once."""

from pathlib import Path

import pytest

from .chaos import run
from .models import MODELS, write

FAULTS = {"batch_refused", "cache_full", "no_fork", "not_finite"}
ENDS = {"cancelled", "length", "stop", "batch_refused", "not_finite", "empty_prompt", "context_length_exceeded"}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_a_few_requests_with_faults_end_once_and_leak_nothing(model: str, tmp_path: Path) -> None:
    tally = run(write(tmp_path, model), 40, seed=3)

    assert tally.ends.keys() >= {"cancelled", "length", "stop"}
    assert tally.faults["forks"]
    assert tally.evicted
    assert sum(verdict.outputs for verdict in tally.verdicts) > 5


@pytest.mark.soak
@pytest.mark.parametrize("model", MODELS)
def test_thousands_of_requests_with_faults_end_once_and_leak_nothing(model: str, tmp_path: Path) -> None:
    tally = run(write(tmp_path, model), 2000, seed=1)

    assert tally.ends.keys() >= ENDS
    assert tally.faults.keys() >= FAULTS
    assert tally.preempted > 20

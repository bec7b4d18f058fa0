"""What the workloads ask for."""

import pytest

from benchmarks.comparison import SEEDS_APART
from benchmarks.figures import Figures
from benchmarks.words import WORDS, text
from benchmarks.workloads import WORKLOADS, Workload

EVERY = pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)


@EVERY
def test_the_same_seed_asks_for_the_same(workload: Workload) -> None:
    assert workload.make(7) == workload.make(7)


@EVERY
def test_another_run_shares_no_text(workload: Workload) -> None:
    texts = [
        {
            text
            for conversation in workload.make(SEEDS_APART * run)
            for text in [conversation.system, *conversation.turns]
        }
        for run in (1, 2)
    ]
    assert (texts[0] & texts[1]) <= {None}


@EVERY
def test_its_figure_exists(workload: Workload) -> None:
    assert workload.figure in Figures.__dataclass_fields__


@pytest.mark.parametrize(("name", "streams"), [("single", 1), ("batch8", 8), ("shared16", 16), ("many32", 32)])
def test_streams_that_begin_together_differ(name: str, streams: int) -> None:
    conversations = WORKLOADS[name].make(1)

    assert len({conversation.turns[0] for conversation in conversations}) == streams
    assert {conversation.at for conversation in conversations} == {0.0}


def test_shared16_shares_its_system_prompt() -> None:
    [system] = {conversation.system for conversation in WORKLOADS["shared16"].make(1)}

    assert system is not None
    assert len(system.split()) == 900


def test_the_long_prompt_of_stall_comes_later() -> None:
    stream, prompt = WORKLOADS["stall"].make(1)

    assert stream.at < prompt.at
    assert len(prompt.turns[0].split()) == 1800


def test_a_text_has_its_words_and_no_others() -> None:
    assert len(text(50, 1).split()) == 50
    assert set(text(50, 1).split()) <= set(WORDS)

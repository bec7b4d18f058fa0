"""What the workloads ask for."""

import pytest

from localrouter.bench.comparison import SEEDS_APART
from localrouter.bench.load.figures import LoadFigures
from localrouter.bench.words import WORDS, text
from localrouter.bench.workloads import OPENAI, TOP_P, WORKLOADS, Fields, Workload

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
def test_its_figures_exist_and_mean_different_things(workload: Workload) -> None:
    assert {row.figure for row in workload.rows} <= LoadFigures.__dataclass_fields__.keys()
    assert len({row.meaning for row in workload.rows}) == len(workload.rows) > 0


@EVERY
def test_ours_draws_from_all_that_openai_would_draw_from(workload: Workload) -> None:
    sampled = {name: value for name, value in workload.ours.items() if name != "response_format"}
    assert sampled == (TOP_P if workload.name == "many32-top-p" else OPENAI)


def test_all_servers_are_held_to_the_same_schema() -> None:
    schema = WORKLOADS["schema"]
    assert schema.ours["response_format"] == schema.llama["response_format"] == schema.others["response_format"]


@pytest.mark.parametrize(
    ("name", "llama", "others"),
    [
        ("many32", {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}, {"temperature": 1.0, "top_p": 1.0}),
        ("many32-own", {}, {}),
        (
            "many32-top-p",
            {"temperature": 1.0, "top_p": 0.95, "top_k": 0, "min_p": 0.0},
            {"temperature": 1.0, "top_p": 0.95},
        ),
    ],
)
def test_llama_server_filters_only_where_it_is_told_to(name: str, llama: Fields, others: Fields) -> None:
    assert (WORKLOADS[name].llama, WORKLOADS[name].others) == (llama, others)


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

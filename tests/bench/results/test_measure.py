"""Medians, ratios, limits, tables, and what is kept of a run."""

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from localrouter.bench.environment import Environment
from localrouter.bench.results import results_report
from localrouter.bench.results.measure import LIMIT, OURS, PEER, Measure
from localrouter.bench.results.results_report import ModelResults

MACHINE = Environment("cpu", 2, 1 << 34, "Linux x86_64", "3.11", 0.0)


def measure(ours: list[float], peer: list[float], *, higher_is_better: bool = True) -> Measure:
    return Measure("name", "meaning", higher_is_better, {OURS: ours, PEER: peer})


def results(*measures: Measure, before: dict[str, float] | None = None, peer: str | None = None) -> ModelResults:
    return ModelResults("qwen3-tiny", 3, measures, peer, before or {})


def test_the_ratio_is_of_medians_and_above_one_when_ours_is_better() -> None:
    assert measure([1, 100, 4], [2, 2]).ratio == 2.0
    assert measure([4], [8], higher_is_better=False).ratio == 2.0


def test_without_a_peer_there_is_no_ratio() -> None:
    assert Measure("name", "meaning", samples={OURS: [1.0]}).ratio is None


def test_the_next_run_finds_the_medians_of_the_last(tmp_path: Path) -> None:
    file = tmp_path / "results" / "last.json"
    results_report.save(file, results_report.as_json(results(measure([1, 3, 2], [1])), MACHINE))

    assert results_report.last_medians(file, MACHINE) == {"name: meaning": 2.0}


def test_what_could_not_be_measured_is_null(tmp_path: Path) -> None:
    results_report.save(tmp_path / "nan.json", {"figures": [{"gap": float("nan"), "rate": 2.0}]})

    assert json.loads((tmp_path / "nan.json").read_text()) == {"figures": [{"gap": None, "rate": 2.0}]}


def test_results_of_another_machine_are_not_compared(tmp_path: Path) -> None:
    file = tmp_path / "last.json"
    results_report.save(file, results_report.as_json(results(measure([1], [1])), MACHINE))

    assert results_report.last_medians(file, Environment("other", 2, 1 << 34, "Linux x86_64", "3.11", 0.0)) == {}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"machine": {"cpu": "cpu", "cores": 2}}'])
def test_a_results_file_that_cannot_be_read_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "last.json"
    file.write_text(content)

    assert results_report.last_medians(file, MACHINE) == {}


def shown(of: ModelResults) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(results_report.table_of(of))
    return console.export_text()


def test_the_table_shows_spread_ratio_and_change() -> None:
    text = shown(results(measure([100, 300, 200], [50]), before={"name: meaning": 100.0}))

    assert "200 (100-300)" in text
    assert "4.00" in text
    assert "2.00" in text


def test_a_limit_says_how_much_of_it_is_reached() -> None:
    bound = Measure("name", "meaning", samples={OURS: [30.0], LIMIT: [40.0]})

    assert "40 (75 %)" in shown(results(bound))
    assert "40 (" not in shown(results(Measure("name", "meaning", samples={LIMIT: [40.0]})))


def test_what_nobody_measured_has_no_column() -> None:
    text = shown(results(Measure("name", "meaning", samples={OURS: [1.0]})))

    assert not {"peer", "ratio", "limit", "change"} & set(text.split())


def test_markdown_is_a_table_below_machine_source_and_day() -> None:
    text = results_report.markdown_of([results(measure([100, 300, 200], [50]), peer="llama-server")], MACHINE)

    assert text.startswith("cpu, 2 cores, 16 GiB, Linux x86_64, Python 3.11, llama-cpp-python ")
    assert re.search(r"; localrouter (commit [0-9a-f]{8}|version \d)[^;]*; \d{4}-\d\d-\d\d\.\n", text)
    assert "qwen3-tiny, beside llama-server; medians of 3 runs:\n\n| measure | what it is | localrouter |" in text
    assert "\n| --- | --- | ---: | ---: | ---: |\n| name | meaning | 200 (100-300) | 50 | 4.00 |\n" in text


@pytest.mark.parametrize(
    ("flaw", "spoiled"), [("localrouter, 1 of 2 streams: no usage", True), ("peer, 1 of 2", False)]
)
def test_only_broken_streams_of_ours_spoil_a_run(flaw: str, spoiled: bool) -> None:
    broken = Measure("name", "meaning", flaws=[flaw])

    assert (results(broken).spoiled, results(broken).flaws) == (spoiled, [flaw])

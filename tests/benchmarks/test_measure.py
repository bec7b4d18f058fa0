"""Medians, ratios, goals, and what is kept of a run."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import report
from benchmarks.measure import OURS, PEER, Goal, Measure
from benchmarks.processes import Machine

MACHINE = Machine("cpu", 2, 1 << 34, "Linux x86_64", "3.11", 0.0)


def measure(ours: list[float], peer: list[float], *, higher_is_better: bool = True) -> Measure:
    return Measure("name", "meaning", higher_is_better, {OURS: ours, PEER: peer})


def test_the_ratio_is_of_medians_and_above_one_when_ours_is_better() -> None:
    assert measure([1, 100, 4], [2, 2]).ratio == 2.0
    assert measure([4], [8], higher_is_better=False).ratio == 2.0


def test_without_a_peer_there_is_no_ratio() -> None:
    assert Measure("name", "meaning", samples={OURS: [1.0]}).ratio is None


@pytest.mark.parametrize(
    ("value", "at_least", "met"),
    [(2.5, True, True), (2.4, True, False), (2.6, False, False), (2.5, False, True), (None, True, None)],
)
def test_a_goal_is_met_missed_or_not_measured(value: float | None, at_least: bool, met: bool | None) -> None:
    assert Goal("name", value, 2.5, "times", at_least).is_met is met


def test_the_next_run_finds_the_medians_of_the_last(tmp_path: Path) -> None:
    file = tmp_path / "results" / "last.json"
    report.save(file, report.as_json(MACHINE, "qwen3-tiny", [measure([1, 3, 2], [1])], []))

    assert report.last_medians(file, MACHINE) == {"name: meaning": 2.0}


def test_what_could_not_be_measured_is_null(tmp_path: Path) -> None:
    report.save(tmp_path / "nan.json", {"figures": [{"gap": float("nan"), "rate": 2.0}]})

    assert json.loads((tmp_path / "nan.json").read_text()) == {"figures": [{"gap": None, "rate": 2.0}]}


def test_results_of_another_machine_are_not_compared(tmp_path: Path) -> None:
    file = tmp_path / "last.json"
    report.save(file, report.as_json(MACHINE, "qwen3-tiny", [measure([1], [1])], []))

    assert report.last_medians(file, Machine("other", 2, 1 << 34, "Linux x86_64", "3.11", 0.0)) == {}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"machine": {"cpu": "cpu", "cores": 2}}'])
def test_a_results_file_that_cannot_be_read_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    file = tmp_path / "last.json"
    file.write_text(content)

    assert report.last_medians(file, MACHINE) == {}


def test_the_table_shows_spread_ratio_and_change() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(report.table_of([measure([100, 300, 200], [50])], {"name: meaning": 100.0}))
    text = console.export_text()

    assert "200 (100-300)" in text
    assert "4.00" in text
    assert "2.00" in text

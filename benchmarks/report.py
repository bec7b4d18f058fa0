"""Results on paper: a table for the person who ran them, JSON for the next run to compare with."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measure import OURS, PEER, Goal, Measure
from benchmarks.processes import Machine

RESULTS = Path(__file__).parent / "results"
BUSY = 0.2
"""Share of the machine that others may use before a run is said to be disturbed."""
MARKS = {True: "[green]met[/]", False: "[red]missed[/]", None: "[yellow]not measured[/]"}


def table_of(measures: Sequence[Measure], before: Mapping[str, float]) -> Table:
    """Return the table of a comparison. `before` are our medians of the last run, by `key_of` the measure."""
    has_peer = any(PEER in measure.samples for measure in measures)
    table = Table(caption="medians (lowest-highest); ratio and change above 1 are better", caption_justify="left")
    table.add_column("measure")
    table.add_column("what it is", overflow="fold")
    for column in (OURS, *((PEER, "ratio") if has_peer else ()), *(("change",) if before else ())):
        table.add_column(column, justify="right")
    for measure in measures:
        cells = [measure.name, measure.meaning, _figure(measure, OURS)]
        if has_peer:
            cells += [_figure(measure, PEER), _times(measure.ratio)]
        if before:
            cells.append(_times(measure.times_better(before.get(key_of(measure)))))
        table.add_row(*cells)
    return table


def table_of_goals(goals: Sequence[Goal]) -> Table:
    """Return the table of the baseline."""
    table = Table()
    for column in ("goal", "measured", "limit", "", "remark"):
        table.add_column(column, overflow="fold")
    for goal in goals:
        measured = "-" if goal.value is None else f"{goal.value:.3g} {goal.unit}"
        limit = f"{'>=' if goal.at_least else '<='} {goal.limit:g} {goal.unit}"
        table.add_row(goal.name, measured, limit, MARKS[goal.is_met], goal.remark)
    return table


def key_of(measure: Measure) -> str:
    """Return what tells a measure from every other one of a run."""
    return f"{measure.name}: {measure.meaning}"


def print_machine(console: Console, machine: Machine) -> None:
    """Say where this runs, and whether it runs alone."""
    console.print(
        f"{machine.cpu}, {machine.cores} cores, {machine.memory / 2**30:.0f} GiB, {machine.system}, "
        f"Python {machine.python}, llama-cpp-python {version('llama-cpp-python')}"
    )
    if machine.busy > BUSY:
        console.print(
            f"[yellow]Other programs use {100 * machine.busy:.0f} % of the machine: these figures are too low.[/]"
        )


def as_json(machine: Machine, model: str, measures: Sequence[Measure], goals: Sequence[Goal]) -> dict[str, Any]:
    """Return everything that was found out, and where."""
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": asdict(machine),
        "llama_cpp_python": version("llama-cpp-python"),
        "model": model,
        "measures": [measure.as_json() for measure in measures],
        "goals": [goal.as_json() for goal in goals],
    }


def last_medians(file: Path, machine: Machine) -> dict[str, float]:
    """Return our medians of the results in `file`; nothing when there are none, or they are of another machine."""
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
        if (results["machine"]["cpu"], results["machine"]["cores"]) != (machine.cpu, machine.cores):
            return {}
        rows = [row for row in results["measures"] if OURS in row["median"]]
        return {f"{row['name']}: {row['meaning']}": float(row["median"][OURS]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def save(file: Path, results: Mapping[str, Any]) -> None:
    """Write results as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(_without_nan(results), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _without_nan(value: Any) -> Any:
    """Return `value` with null for what could not be measured: JSON has no other word for it."""
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value


def _figure(measure: Measure, program: str) -> str:
    median, samples = measure.median(program), measure.samples.get(program, [])
    if median is None:
        return ""
    spread = f" ({_short(min(samples))}-{_short(max(samples))})" if len(samples) > 1 else ""
    return _short(median) + spread


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"

"""Results of a benchmark as a table for the terminal, as Markdown and as JSON."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any

from rich.table import Table

from localrouter.bench.environment import Environment, source
from localrouter.bench.results.measure import LIMIT, OURS, PEER, Measure


@dataclass(frozen=True)
class ModelResults:
    """Measures of one model, each of `repeat` runs. `peer` is the name of the other server, if there is one."""

    model: str
    repeat: int
    measures: Sequence[Measure]
    peer: str | None = None
    before: Mapping[str, float] = field(default_factory=dict)
    """Medians of localrouter in the previous run, by the key of the measure."""

    @property
    def spoiled(self) -> bool:
        """Whether a stream of localrouter was broken."""
        return any(flaw.startswith(OURS) for flaw in self.flaws)

    @property
    def flaws(self) -> list[str]:
        """Flaws of the broken streams of all programs."""
        return [flaw for measure in self.measures for flaw in measure.flaws]


def table_of(results: ModelResults) -> Table:
    """Return the results of a model as a table for the terminal."""
    head, rows = _cells(results)
    caption = "medians (lowest-highest)" if results.repeat > 1 else "one run each"
    caption += "; ratio and change above 1 are better" if "ratio" in head or "change" in head else ""
    table = Table(title=results.model, title_justify="left", caption=caption, caption_justify="left")
    for number, column in enumerate(head):
        table.add_column(column, overflow="fold", justify="right" if number > 1 else "left")
    for row in rows:
        table.add_row(*row)
    return table


def markdown_of(all_results: Sequence[ModelResults], machine: Environment) -> str:
    """Return the tables of all models in Markdown, below a line with machine, version and date."""
    day = time.strftime("%Y-%m-%d", time.gmtime())
    parts = [f"{machine}; localrouter {source()}; {day}.\n"]
    for results in all_results:
        head, rows = _cells(results)
        of_runs = f"medians of {results.repeat} runs" if results.repeat > 1 else "one run each"
        beside = f", beside {results.peer}" if results.peer else ""
        rule = ["---"] * 2 + ["---:"] * (len(head) - 2)
        lines = [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]
        parts.append(f"{results.model}{beside}; {of_runs}:\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def as_json(results: ModelResults, machine: Environment) -> dict[str, Any]:
    """Return the results of a model and their environment as JSON data."""
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": asdict(machine),
        "localrouter": source(),
        "llama_cpp_python": version("llama-cpp-python"),
        "model": results.model,
        "repeat": results.repeat,
        "peer": results.peer,
        "measures": [measure.as_json() for measure in results.measures],
    }


def last_medians(file: Path, machine: Environment) -> dict[str, float]:
    """Return the medians of localrouter in a results file; none if it is missing or of another machine."""
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
        if (results["machine"]["cpu"], results["machine"]["cores"]) != (machine.cpu, machine.cores):
            return {}
        rows = [row for row in results["measures"] if OURS in row["median"]]
        return {f"{row['name']}: {row['meaning']}": float(row["median"][OURS]) for row in rows}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def save(file: Path, results: object) -> None:
    """Write results to a file as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(_without_nan(results), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _cells(results: ModelResults) -> tuple[list[str], list[list[str]]]:
    """Return the titles and the rows of the table; columns without any value are left out."""
    measures = results.measures
    columns = {
        OURS: [_figure(measure, OURS) for measure in measures],
        results.peer or PEER: [_figure(measure, PEER) for measure in measures],
        "ratio": [_times(measure.ratio) for measure in measures],
        "limit": [_limit(measure) for measure in measures],
        "change": [_times(measure.times_better(results.before.get(measure.key))) for measure in measures],
    }
    shown = {title: cells for title, cells in columns.items() if any(cells)}
    fixed = [[measure.name, measure.meaning] for measure in measures]
    rows = [[*start, *cells] for start, *cells in zip(fixed, *shown.values(), strict=True)]
    return ["measure", "what it is", *shown], rows


def _figure(measure: Measure, program: str) -> str:
    median, samples = measure.median(program), measure.samples.get(program, [])
    if median is None:
        return ""
    spread = f" ({_short(min(samples))}-{_short(max(samples))})" if len(samples) > 1 else ""
    return _short(median) + spread


def _limit(measure: Measure) -> str:
    """Return the limit, and the percentage of it that localrouter reaches."""
    limit, ours = measure.median(LIMIT), measure.median(OURS)
    if limit is None:
        return ""
    return _short(limit) + (f" ({100 * ours / limit:.0f} %)" if ours else "")


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _without_nan(value: Any) -> Any:
    """Return `value` with None for every number that is not finite, because JSON has no NaN."""
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value

"""Results of conformance checks as a table for the terminal, as Markdown, and as JSON."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from rich.table import Table
from rich.text import Text

from localrouter.conformance.check import CheckOutcome, CheckResult

_STYLES = {
    CheckOutcome.PASSED: "green",
    CheckOutcome.FAILED: "bold red",
    CheckOutcome.REJECTED: "yellow",
    CheckOutcome.EXEMPT: "yellow",
    CheckOutcome.UNDECIDED: "dim",
    CheckOutcome.NOT_RUN: "dim",
}
_LONGEST = 160
"""Characters of a reason in a cell; JSON has all of them."""


def summary(results: Iterable[CheckResult]) -> str:
    """Return the number of checks by outcome, on one line."""
    counts = Counter(result.outcome for result in results)
    return f"{counts.total()} checks: " + ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in CheckOutcome)


def table(results: Sequence[CheckResult]) -> Table:
    """Return a table with a heading for each group, and an explanation below each check that did not pass."""
    shown = Table.grid(padding=(0, 2, 0, 0))
    shown.add_column(no_wrap=True)
    shown.add_column(overflow="fold")
    for name, group in groupby(results, key=lambda result: result.check.group):
        shown.add_row(Text(name, style="bold"), "")
        for result in group:
            shown.add_row(Text(f"  {result.outcome}", style=_STYLES[result.outcome]), result.check.name)
            for line in _explanation(result):
                shown.add_row("", Text(line, style="dim"))
    return shown


def markdown(results: Sequence[CheckResult], title: str) -> str:
    """Return the results as a table in Markdown."""
    rows = [
        f"| {result.check.group} | {result.check.name} | {result.outcome} | {_cell(result.reason)} |"
        for result in results
    ]
    head = ["| group | check | outcome | why |", "|---|---|---|---|"]
    return "\n".join([title, "", f"{summary(results)}.", "", *head, *rows]) + "\n"


def as_json(results: Sequence[CheckResult], base_url: str, model: str) -> dict[str, Any]:
    """Return the results as JSON data: server, model, number of checks by outcome, and every check."""
    counts = Counter(result.outcome for result in results)
    return {
        "base_url": base_url,
        "model": model,
        "outcomes": {outcome.value: counts[outcome] for outcome in CheckOutcome},
        "checks": [
            {
                "group": result.check.group,
                "name": result.check.name,
                "promise": result.check.promise,
                "outcome": result.outcome.value,
                "reason": result.reason,
                "asked": result.asked,
                "came": result.came,
                "seconds": round(result.seconds, 3),
            }
            for result in results
        ],
    }


def _explanation(result: CheckResult) -> Iterator[str]:
    """Yield the lines that explain a check that did not pass."""
    if result.outcome is CheckOutcome.FAILED:
        yield f"promised: {result.check.promise}"
    if result.reason and result.outcome is not CheckOutcome.NOT_RUN:
        yield _short(result.reason)


def _short(text: str) -> str:
    """Return a text as one short, printable line: a server's text may have control characters or invalid Unicode."""
    line = "".join(char if char.isprintable() else "\ufffd" for char in " ".join(text.split()))
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _cell(text: str) -> str:
    """Return a text as a cell of a Markdown table, with `|` and `<` escaped."""
    return _short(text).replace("|", "\\|").replace("<", "&lt;")

"""A figure that must reach a limit, and the table of such figures."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

MARKS = {True: "[green]met[/]", False: "[red]missed[/]", None: "[yellow]not measured[/]"}


@dataclass(frozen=True)
class Goal:
    """A figure that must reach a limit. `value` is None if it could not be measured; `remark` says why."""

    name: str
    value: float | None
    limit: float
    unit: str
    at_least: bool
    remark: str = ""

    @property
    def is_met(self) -> bool | None:
        """Whether the limit was reached; None when the figure was not measured."""
        if self.value is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def as_json(self) -> Mapping[str, Any]:
        """Return all fields as JSON data for the results file."""
        return asdict(self) | {"is_met": self.is_met}


def table_of_goals(goals: Sequence[Goal]) -> Table:
    """Return the goals of a run as a table."""
    table = Table()
    for column in ("goal", "measured", "limit", "", "remark"):
        table.add_column(column, overflow="fold")
    for goal in goals:
        measured = "-" if goal.value is None else f"{goal.value:.3g} {goal.unit}"
        limit = f"{'>=' if goal.at_least else '<='} {goal.limit:g} {goal.unit}"
        table.add_row(goal.name, measured, limit, MARKS[goal.is_met], goal.remark)
    return table

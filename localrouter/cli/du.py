"""`localrouter du`: disk usage of models."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.table import Table

from localrouter.cli.exit_status import exit_statuses
from localrouter.cli.list import human_size
from localrouter.cli.options import json_option, manifest_option, names_argument, print_data, talk
from localrouter.weights.registry import Registry

if TYPE_CHECKING:
    from localrouter.weights.disk_usage import DiskUsage, Holding


@click.command("du", epilog=exit_statuses("shown"))
@names_argument
@manifest_option("Count builds of this manifest instead of the shipped one and your own.")
@json_option
def du(names: tuple[str, ...], manifest: Path | None, *, as_json: bool) -> None:
    """Show the disk usage of every build, largest first. Shared files are counted once in the total."""
    from localrouter.weights.disk_usage import usage  # imported late for a fast --help

    used = usage(Registry.read(manifest).select(names))
    holdings = sorted(used.holdings, key=lambda each: (-each.size, each.entry.build.name))
    if as_json:
        click.echo(json.dumps(_as_json(used, holdings), indent=2))
        return
    print_data(_table(used, holdings))
    if used.unfinished:
        talk("`localrouter pull` resumes unfinished downloads; `localrouter prune` deletes old ones")


def _as_json(used: "DiskUsage", holdings: "Sequence[Holding]") -> dict[str, Any]:
    builds = [
        {
            "model": each.entry.build.name,
            "source": each.entry.build.source,
            "size": each.size,
            "paths": [str(path) for path in each.files],
        }
        for each in holdings
    ]
    return {"builds": builds, "unfinished": used.unfinished, "total": used.total}


def _table(used: "DiskUsage", holdings: "Sequence[Holding]") -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for each in holdings:
        table.add_row(human_size(each.size), each.entry.build.name)
    if used.unfinished:
        table.add_row(human_size(used.unfinished), "unfinished downloads")
    table.add_row(human_size(used.total), "total")
    return table

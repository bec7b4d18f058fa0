"""`localrouter du`: the bytes that models take on this machine."""

import json
from pathlib import Path
from typing import Any

import rich_click as click
from rich.table import Table

from localrouter.cli.exit_status import exit_statuses
from localrouter.cli.list import human_size
from localrouter.cli.options import json_option, manifest_option, names_argument, print_data, talk
from localrouter.weights.registry import Registry


@click.command("du", epilog=exit_statuses("shown"))
@names_argument
@manifest_option("Count builds of this manifest instead of the one that comes with localrouter and your own.")
@json_option
def du(names: tuple[str, ...], manifest: Path | None, *, as_json: bool) -> None:
    """Show the bytes of every build on this machine, largest first; a file that builds share is once in the total."""
    from localrouter.weights.disk_usage import usage  # --help should not wait for it

    used = usage(Registry.read(manifest).select(names))
    holdings = sorted(used.holdings, key=lambda each: (-each.size, each.entry.build.name))
    if as_json:
        builds: list[dict[str, Any]] = [
            {
                "model": each.entry.build.name,
                "source": each.entry.build.source,
                "size": each.size,
                "paths": [str(path) for path in each.files],
            }
            for each in holdings
        ]
        click.echo(json.dumps({"builds": builds, "unfinished": used.unfinished, "total": used.total}, indent=2))
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for each in holdings:
        table.add_row(human_size(each.size), each.entry.build.name)
    if used.unfinished:
        table.add_row(human_size(used.unfinished), "unfinished downloads")
    table.add_row(human_size(used.total), "total")
    print_data(table)
    if used.unfinished:
        talk("`localrouter pull` goes on with unfinished downloads; `localrouter prune` deletes old ones")

"""`localrouter prune`: deletes what the cache keeps of our models and no manifest asks for."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from rich.table import Table

from localrouter.cli.exit_status import FAILED, exit_statuses
from localrouter.cli.list import human_size
from localrouter.cli.options import consent, json_option, manifest_option, print_data, talk, yes_option
from localrouter.weights.registry import ManifestLayer, Registry, RegistryEntry

if TYPE_CHECKING:
    from localrouter.weights.cache_cleanup import Leftover


@click.command("prune", epilog=exit_statuses("done, or there is nothing to do", "you said no"))
@click.option("--dry-run", is_flag=True, help="Only show what would be deleted.")
@manifest_option("Keep what this manifest names, too.")
@yes_option
@json_option
def prune(manifest: Path | None, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Delete downloads that were left unfinished for a day, and revisions that no manifest or lock names.

    Only of repositories that a manifest names: the cache may be that of other programs, too. What was shipped and
    what you added is always kept. Shows what would be freed, and asks.
    """
    from localrouter.weights.cache_cleanup import leftovers, scan_cache  # --help should not wait for it

    found = leftovers([*_kept(manifest)], scan_cache())
    deleted = bool(found) and not dry_run
    if not as_json:
        _show(found)
    if deleted and not consent("Delete this?", yes=yes):
        raise SystemExit(FAILED)
    for leftover in found if deleted else ():
        leftover.delete()
    freed = sum(leftover.size for leftover in found)
    if as_json:
        rows = [{"what": each.what, "repo": each.repo, "name": each.name, "size": each.size} for each in found]
        click.echo(json.dumps({"leftovers": rows, "size": freed, "deleted": deleted}, indent=2))
    elif deleted:
        talk(f"freed {human_size(freed)}")


def _kept(manifest: Path | None) -> Iterator[RegistryEntry]:
    """Every build of every manifest, also those that a stronger manifest hides."""
    yield from (entry for layer in Registry.read().layers for entry in layer.entries())
    if manifest is not None:
        yield from ManifestLayer.read(manifest).entries()


def _show(found: "Sequence[Leftover]") -> None:
    if not found:
        talk("nothing to delete")
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for each in found:
        table.add_row(human_size(each.size), f"{each.what} {each.name[:12]} of {each.repo}")
    table.add_row(human_size(sum(each.size for each in found)), "together")
    print_data(table)

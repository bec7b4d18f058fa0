"""`localrouter prune`: deletes cached files of managed repositories that no manifest or lockfile names."""

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


@click.command("prune", epilog=exit_statuses("done, or nothing to do", "not confirmed"))
@click.option("--dry-run", is_flag=True, help="Show what would be deleted, and delete nothing.")
@manifest_option("Also keep files that this manifest names.")
@yes_option
@json_option
def prune(manifest: Path | None, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Delete downloads left unfinished for a day, and revisions that no manifest or lockfile names.

    Only repositories that a manifest names are touched, since other programs may share the cache. Shipped files and
    files you added are always kept. Shows what would be freed, and asks for confirmation.
    """
    from localrouter.weights.cache_cleanup import leftovers, scan_cache  # imported late for a fast --help

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
    """Yield every build of every manifest, including those overridden by another manifest."""
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
    table.add_row(human_size(sum(each.size for each in found)), "total")
    print_data(table)

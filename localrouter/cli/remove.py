"""`localrouter remove`: deletes downloaded files and removes added builds from the manifest; local files are kept."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from localrouter.cli.exit_status import FAILED, exit_statuses
from localrouter.cli.list import human_size
from localrouter.cli.options import consent, json_option, manifest_option, talk, yes_option
from localrouter.errors import ConfigError
from localrouter.weights.manifest.lockfile import Lock, lock_path, read_lock, write_lock
from localrouter.weights.manifest.user_manifest import remove_build
from localrouter.weights.registry import Registry, RegistryEntry, user_manifest_path

if TYPE_CHECKING:
    from localrouter.weights.cache_cleanup import Removal


@dataclass(frozen=True)
class _Plan:
    """Files of the cache to delete, and entries to take out of the manifest."""

    removal: "Removal"
    forgotten: tuple[RegistryEntry, ...]

    @property
    def empty(self) -> bool:
        return not (self.removal.files or self.removal.unfinished or self.forgotten)

    def lines(self) -> Iterator[str]:
        if self.removal.files or self.removal.unfinished:
            yield f"delete, which frees {human_size(self.removal.freed)}:"
            yield from (f"  {path}" for path in self.removal.files)
            yield from (f"  {place.partial}" for place in self.removal.unfinished)
        for entry in self.forgotten:
            stays = f"; {entry.build.path} stays" if entry.build.path else ""
            yield f"forget {entry.build.name}, in {entry.manifest}{stays}"


@click.command("remove", epilog=exit_statuses("done", "not confirmed"))
@click.argument("names", nargs=-1, required=True, metavar="NAME[:VARIANT]...")
@click.option("--forget", is_flag=True, help="Also take builds of the hub that you added out of your manifest.")
@manifest_option("Remove builds of this manifest instead of the shipped one and your own.")
@yes_option
@json_option
def remove(names: tuple[str, ...], manifest: Path | None, *, forget: bool, yes: bool, as_json: bool) -> None:
    """Delete the downloaded files of builds, or forget builds that you added from local files.

    A file that another snapshot of the cache uses is kept. Local files are never deleted. Shows what would be done, and
    asks for confirmation.
    """
    plan = _plan(Registry.read(manifest).select(names), manifest or user_manifest_path(), forget=forget)
    if plan.empty:
        raise ConfigError(
            f"{', '.join(names)}: there is nothing to remove", hint="localrouter list shows the models on this machine"
        )
    for line in plan.lines():
        talk(line)
    if not consent("Do this?", yes=yes):
        raise SystemExit(FAILED)
    plan.removal.execute()
    for entry in plan.forgotten:
        _forget(entry)
    if as_json:
        said = {
            "deleted": [str(path) for path in plan.removal.files],
            "freed": plan.removal.freed,
            "forgotten": [entry.build.name for entry in plan.forgotten],
        }
        click.echo(json.dumps(said, indent=2))
    elif plan.removal.files:
        talk(f"freed {human_size(plan.removal.freed)}")


def _plan(entries: Sequence[RegistryEntry], own: Path, *, forget: bool) -> _Plan:
    from localrouter.weights.cache_cleanup import removal, scan_cache  # imported late for a fast --help

    cached = [entry for entry in entries if entry.build.source == "hub"]
    forgotten = tuple(
        entry
        for entry in entries
        if entry.manifest == own and (entry.build.source == "path" or (forget and entry in cached))
    )
    if entries and not cached and not forgotten:
        raise ConfigError(
            f"{entries[0].build.name}: its file is not one that localrouter downloaded",
            hint="it is shipped with localrouter" if entries[0].build.asset else f"edit {entries[0].manifest}",
        )
    return _Plan(removal(cached, scan_cache()), forgotten)


def _forget(entry: RegistryEntry) -> None:
    remove_build(entry.manifest, entry.build.name)
    path = lock_path(entry.manifest)
    locked = read_lock(path).entries
    if entry.build.name in locked:
        write_lock(path, Lock({name: pin for name, pin in locked.items() if name != entry.build.name}))

"""`localrouter lock`: pins builds of the hub to commits and digests in a lockfile, or compares it with the hub."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from rich.table import Table

from localrouter.cli.exit_status import FAILED, exit_statuses
from localrouter.cli.options import (
    FILE,
    go_offline,
    json_option,
    manifest_option,
    names_argument,
    offline_option,
    print_data,
    talk,
)
from localrouter.errors import ConfigError
from localrouter.weights.manifest.lockfile import Lock, lock_path, read_lock, write_lock
from localrouter.weights.registry import ManifestLayer, Registry, RegistryEntry

if TYPE_CHECKING:
    from localrouter.weights.hub.resolve import LockChange
    from localrouter.weights.manifest.pin import Pin

_STATUS = exit_statuses("locked, or with --check no differences", "with --check: a build differs or is not locked")
_SHORT = 12


@click.command("lock", epilog=_STATUS)
@names_argument
@click.option(
    "--check", is_flag=True, help="Write nothing; compare the lockfile with the head of each repository's main branch."
)
@click.option("--output", type=FILE, metavar="FILE", help="Write the lockfile there instead of next to the manifest.")
@manifest_option("Lock this manifest instead of the shipped one and your own.")
@offline_option
@json_option
def lock(
    names: tuple[str, ...],
    manifest: Path | None,
    *,
    output: Path | None,
    check: bool,
    offline: bool,
    as_json: bool,
) -> None:
    """Pin builds of the hub in a lockfile next to the manifest: commit, size, sha256, licence and chat template.

    Without names, all builds. A build without a revision in the manifest is pinned to the current head of main. Pass
    --output where the directory of the manifest is not writable.
    """
    go_offline(offline)
    registry = Registry.read(manifest)
    entries = _of_the_hub(registry, names)
    if check:
        _compare(entries, offline=offline, as_json=as_json)
        return
    _show(_lock(registry, entries, output, offline=offline), as_json=as_json)


def _compare(entries: Sequence[RegistryEntry], *, offline: bool, as_json: bool) -> None:
    """Print the differences between the lockfile and the hub, and exit with status 1 if there are any."""
    found = _check(entries, offline=offline)
    _show(found, as_json=as_json)
    if found:
        talk("`localrouter lock NAME` updates a pin; for a build with a `revision`, edit the manifest first")
        raise SystemExit(FAILED)
    talk(f"{len(entries)} builds match the lockfile")


def _of_the_hub(registry: Registry, names: tuple[str, ...]) -> list[RegistryEntry]:
    entries = registry.select(names)
    chosen = [entry for entry in entries if entry.build.source == "hub"]
    if names and not chosen:
        raise ConfigError(f"{', '.join(names)}: not a build of the hub, so there is nothing to lock")
    return chosen


def _check(entries: Sequence[RegistryEntry], *, offline: bool) -> "list[LockChange]":
    from localrouter.weights.hub.hub_client import Hub  # after --offline, and for a fast --help
    from localrouter.weights.hub.resolve import at_once, check

    hub = Hub(offline=offline, tell=talk)
    talk(f"asking the hub about {len(entries)} build{'s' if len(entries) > 1 else ''}")
    return [change for found in at_once(lambda entry: check(entry, hub), entries) for change in found]


def _lock(
    registry: Registry, entries: Sequence[RegistryEntry], output: Path | None, *, offline: bool
) -> "list[LockChange]":
    from localrouter.weights.hub.hub_client import Hub
    from localrouter.weights.hub.resolve import at_once, changes, resolve

    hub = Hub(offline=offline, tell=talk)
    talk(f"asking the hub about {len(entries)} build{'s' if len(entries) > 1 else ''}")
    pins = at_once(lambda entry: resolve(entry, hub), entries)
    fresh = {(entry.manifest, entry.build.name): pin for entry, pin in zip(entries, pins, strict=True)}
    found: list[LockChange] = []
    for path, layers in _targets(registry, output).items():
        old = read_lock(path)
        new = Lock({entry.build.name: pin for layer in layers for entry, pin in _pins(layer, fresh, old)})
        found += changes(old, new)
        if new != old:
            write_lock(path, new)
            talk(f"wrote {path}")
        else:
            talk(f"{path} is unchanged")
    return found


def _pins(
    layer: ManifestLayer, fresh: Mapping[tuple[Path, str], "Pin"], old: Lock
) -> Iterator[tuple[RegistryEntry, "Pin"]]:
    """Yield the pins of a manifest's builds: new pins, else the old ones. Builds not in the manifest are dropped."""
    for entry in layer.entries():
        name = entry.build.name
        pin = fresh.get((layer.path, name)) or old.entries.get(name) or layer.lock.entries.get(name)
        if pin is not None and entry.build.source == "hub":
            yield entry, pin


def _targets(registry: Registry, output: Path | None) -> dict[Path, list[ManifestLayer]]:
    """Return the manifests of each lockfile to write: one per manifest with hub builds, or one for all at `output`."""
    layers = [layer for layer in registry.layers if any(entry.build.source == "hub" for entry in layer.entries())]
    if output is not None:
        return {output: layers}
    return {lock_path(layer.path): [layer] for layer in layers}


def _show(found: "Sequence[LockChange]", *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([asdict(change) for change in found], indent=2))
        return
    table = Table.grid(padding=(0, 1, 0, 0))
    for overflow in ("fold", "fold", "fold", "fold"):
        table.add_column(overflow=overflow)
    for change in found:
        table.add_row(change.build, change.what, _short(change.old), f"-> {_short(change.new)}")
    if found:
        print_data(table)


def _short(value: str) -> str:
    """Return the first digits of a digest or commit, and any other value unchanged; --json has all digits."""
    hexadecimal = len(value) in {40, 64} and set(value) <= set("0123456789abcdef")
    return value[:_SHORT] if hexadecimal else value

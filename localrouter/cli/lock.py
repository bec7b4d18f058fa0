"""`localrouter lock`: writes down which commit and bytes every build of the hub is, or looks whether that moved."""

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

_STATUS = exit_statuses("locked, or with --check all is as locked", "with --check: something moved or is not locked")
_SHORT = 12


@click.command("lock", epilog=_STATUS)
@names_argument
@click.option("--check", is_flag=True, help="Change nothing; compare with the head of each repository's main branch.")
@click.option("--output", type=FILE, metavar="FILE", help="Write the lock there instead of beside the manifest.")
@manifest_option("Lock this manifest instead of the one that comes with localrouter and your own.")
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
    """Pin builds of the hub: commit, size, sha256, licence and chat template, into a lock beside the manifest.

    Without names all builds. One whose manifest names no revision is pinned to the head of main as it is now. Where
    the directory of the manifest cannot be written, as in some installations, give --output.
    """
    go_offline(offline)
    registry = Registry.read(manifest)
    entries = _of_the_hub(registry, names)
    if check:
        found = _check(entries, offline=offline)
        _show(found, as_json=as_json)
        if found:
            talk("`localrouter lock NAME` follows; a build with a `revision` in the manifest moves when that is edited")
            raise SystemExit(FAILED)
        talk(f"{len(entries)} builds are as they were locked")
        return
    _show(_lock(registry, entries, output, offline=offline), as_json=as_json)


def _of_the_hub(registry: Registry, names: tuple[str, ...]) -> list[RegistryEntry]:
    entries = registry.select(names)
    chosen = [entry for entry in entries if entry.build.source == "hub"]
    if names and not chosen:
        raise ConfigError(f"{', '.join(names)}: nothing of this comes from the hub, so there is nothing to lock")
    return chosen


def _check(entries: Sequence[RegistryEntry], *, offline: bool) -> "list[LockChange]":
    from localrouter.weights.hub.hub_client import Hub  # --help should not wait for it, nor --offline come late
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
            talk(f"{path} stays as it is")
    return found


def _pins(
    layer: ManifestLayer, fresh: Mapping[tuple[Path, str], "Pin"], old: Lock
) -> Iterator[tuple[RegistryEntry, "Pin"]]:
    """The pins of a manifest's builds: new ones, and those that were locked before; not of builds that are gone."""
    for entry in layer.entries():
        name = entry.build.name
        pin = fresh.get((layer.path, name)) or old.entries.get(name) or layer.lock.entries.get(name)
        if pin is not None and entry.build.source == "hub":
            yield entry, pin


def _targets(registry: Registry, output: Path | None) -> dict[Path, list[ManifestLayer]]:
    """Which lock is written for which manifests: each its own, or one for all at `output`. One without builds: none."""
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
    """A digest by its first digits; --json has all of them."""
    hexadecimal = len(value) in {40, 64} and set(value) <= set("0123456789abcdef")
    return value[:_SHORT] if hexadecimal else value

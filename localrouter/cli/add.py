"""`localrouter add`: adds a local GGUF file, or one of the Hugging Face hub, to a manifest."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from localrouter.cli.exit_status import exit_statuses
from localrouter.cli.list import human_size
from localrouter.cli.options import go_offline, json_option, manifest_option, offline_option, talk
from localrouter.cli.progress import watching
from localrouter.errors import ConfigError
from localrouter.weights.addition import Addition, added_before, addition, refuse_duplicate
from localrouter.weights.manifest.lockfile import Lock, lock_path, read_lock, write_lock
from localrouter.weights.manifest.user_manifest import add_build, replace_build
from localrouter.weights.registry import Registry, RegistryEntry, user_manifest_path

if TYPE_CHECKING:
    from localrouter.weights.manifest.pin import Pin


@click.command("add", epilog=exit_statuses("added"))
@click.argument("name", metavar="NAME[:VARIANT]")
@click.argument("file", metavar="FILE.gguf|hf:REPO/FILE[@REV]")
@click.option("--name", "full_name", metavar="FULL", help="The full name. [default: the file name without .gguf]")
@click.option("--no-hash", is_flag=True, help="Record only the size of a local file, without its sha256.")
@manifest_option("Add to this manifest instead of your own.")
@offline_option
@json_option
def add(name: str, file: str, *, full_name: str | None, manifest: Path | None, **flags: bool) -> None:
    """Add a local GGUF file, or a file of the Hugging Face hub, to your own manifest.

    A local file stays in its place; its size and sha256 are recorded, so that `localrouter verify` detects changes.
    Adding it again updates the record. A file of the hub is looked up and pinned, and `localrouter pull` downloads it;
    with --offline it is recorded without a pin. An alias that exists already gets one more build.
    """
    go_offline(flags["offline"])
    own = manifest or user_manifest_path()
    new = addition(name, file, full_name)
    registry = Registry.read(manifest if manifest and manifest.exists() else None)
    old = added_before(new, own, registry)
    refuse_duplicate(new, registry, old)
    pin = None
    if new.build.source == "hub":
        new, pin = _look_up(new, own, offline=flags["offline"])
    elif not flags["no_hash"]:
        with watching(f"hashing {new.build.name}", new.size) as report:
            new = new.with_digests(report)
    new = _write(new, old, pin, own)
    _say(new, own, pin, updated=old is not None, as_json=flags["as_json"])


def _write(new: Addition, old: RegistryEntry | None, pin: "Pin | None", own: Path) -> Addition:
    """Write the build to the manifest and its pin to the lockfile; return the addition as it was written."""
    if old is not None:
        new = new.in_place_of(old)
        replace_build(own, new.build)
    else:
        add_build(own, new.alias, new.build, new.description)
    if pin is not None:
        path = lock_path(own)
        write_lock(path, Lock({**read_lock(path).entries, new.build.name: pin}))
    return new


def _look_up(new: Addition, own: Path, *, offline: bool) -> "tuple[Addition, Pin | None]":
    """Return the addition with the hub's data and its pin; a branch or a tag is resolved to its current commit.

    Offline there is no pin. Raises ConfigError for a branch or a tag that only the hub can resolve.
    """
    if offline:
        if new.revision is not None:
            raise ConfigError(
                f"{new.revision!r} cannot be resolved to a commit: localrouter is offline",
                hint="give a commit of 40 hexadecimal digits, or leave out --offline",
            )
        return new, None
    from localrouter.weights.hub.hub_client import Hub  # after --offline: the library reads it at import
    from localrouter.weights.hub.resolve import resolve

    hub = Hub(tell=talk)
    build, repo = new.build, new.build.repo
    assert repo is not None
    if new.revision is not None:
        build = build.model_copy(update={"revision": hub.resolve(repo, new.revision).commit})
    pin = resolve(RegistryEntry(new.alias, build, own), hub)
    return dataclasses.replace(new, build=build.model_copy(update={"license": pin.license})), pin


def _say(new: Addition, own: Path, pin: "Pin | None", *, updated: bool, as_json: bool) -> None:
    build = new.build
    name = f"{new.alias}:{build.variant}" if build.variant else new.alias
    if as_json:
        said = {"model": build.name, "alias": new.alias, "variant": build.variant, "manifest": str(own)}
        known = {"size": pin.size if pin else build.size, "sha256": build.sha256, "part_sha256": build.part_sha256}
        click.echo(
            json.dumps(said | {"commit": pin.commit if pin else build.revision, "updated": updated} | known, indent=2)
        )
        return
    talk(f"{'updated' if updated else 'added'} {name}: {build.name}, in {own}")
    if build.source == "path":
        digest = build.sha256 or (build.part_sha256 and "of each part")
        talk(f"recorded: {human_size(build.size or 0)}, " + (f"sha256 {digest}" if digest else "no sha256"))
    else:
        unique = name if build.variant else build.name
        if pin is None:
            talk(f"the build is not pinned yet; with a network, run: localrouter lock {unique}")
        talk(f"download it with: localrouter pull {unique}")

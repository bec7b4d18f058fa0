"""`localrouter pull`: downloads models from the Hugging Face hub, exactly as they are pinned."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.console import Console

from localrouter.cli.exit_status import exit_statuses
from localrouter.cli.list import human_size
from localrouter.cli.options import go_offline, json_option, manifest_option, offline_option
from localrouter.cli.settings import machine_of, settings_of
from localrouter.config import EngineSettings
from localrouter.errors import ConfigError
from localrouter.memory.fit import USEFUL_CELLS, FitChoice, choose
from localrouter.weights.build_location import Found
from localrouter.weights.build_shapes import shape_of_build
from localrouter.weights.registry import Registry, RegistryEntry

if TYPE_CHECKING:
    from localrouter.weights.hub.download import Brought
    from localrouter.weights.hub.hub_client import Hub
    from localrouter.weights.manifest.pin import Pin


@dataclass(frozen=True)
class _Have:
    """A build that is on this machine now. `pin` and `files` are set for builds of the hub only."""

    entry: RegistryEntry
    paths: tuple[Path, ...]
    pin: "Pin | None" = None
    files: "tuple[Brought, ...]" = ()

    @property
    def state(self) -> str:
        return "downloaded" if any(file.outcome == "downloaded" for file in self.files) else "present"


@click.command("pull", epilog=exit_statuses("all models are on this machine"))
@click.argument("names", nargs=-1, required=True, metavar="NAME[:VARIANT]...")
@manifest_option("Model manifest to use instead of the shipped one.")
@click.option("--unlocked", is_flag=True, help="Also download builds without a pin, at the hub's current revision.")
@offline_option
@json_option
def pull(names: tuple[str, ...], manifest: Path | None, *, unlocked: bool, offline: bool, as_json: bool) -> None:
    """Download models into the Hugging Face cache, resuming earlier downloads.

    A bare alias means its largest build that fits this machine. Every file is checked against the size and sha256 of
    its pin. Paths are printed to stdout, one per line; progress goes to stderr.
    """
    go_offline(offline)
    talk = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)
    registry = Registry.read(manifest)
    entries = list({entry.build.name: entry for entry in _meant(registry, names, talk)}.values())
    if not unlocked:
        _require_pins(entries)
    have = _bring(entries, talk, offline=offline)
    for each in have:
        talk.print(f"{each.entry.build.name}: {'downloaded' if each.state == 'downloaded' else 'already present'}")
    if as_json:
        click.echo(json.dumps([_as_json(each) for each in have], indent=2))
    else:
        click.echo("\n".join(str(path) for each in have for path in each.paths))


def _meant(registry: Registry, names: Iterable[str], talk: Console) -> Iterator[RegistryEntry]:
    """Yield the build of each name; for an alias, the build that the catalog will choose for it.

    Builds of the hub are preferred over builds that cannot be downloaded.
    """
    for name in names:
        found = registry.find(name)
        entries = [entry for entry in found if entry.build.source == "hub"] or found
        if len(entries) == 1:
            yield entries[0]
            continue
        cells = registry.models[entries[0].alias].context or USEFUL_CELLS
        shapes = [shape_of_build(entry) for entry in entries]
        choice = choose(shapes, machine_of(settings_of(EngineSettings, {})).idle, cells, among="builds")
        talk.print(_why(name, entries[choice.index], shapes[choice.index].weights, choice))
        yield entries[choice.index]


def _why(name: str, entry: RegistryEntry, size: int, choice: FitChoice) -> str:
    told = f" ({human_size(size)})" if size else ""
    return f"{name}: {entry.build.name}{told}, {choice.reason}. For another: localrouter pull {name}:VARIANT"


def _require_pins(entries: Sequence[RegistryEntry]) -> None:
    free = [entry for entry in entries if entry.build.source == "hub" and entry.pin is None]
    if free:
        names = " ".join(entry.name for entry in free)
        raise ConfigError(
            f"{', '.join(entry.build.name for entry in free)}: not pinned, so downloads cannot be verified",
            hint=f"pin the current revision with: localrouter lock {names}; or download it unverified with --unlocked",
        )


def _bring(entries: Sequence[RegistryEntry], talk: Console, *, offline: bool) -> list[_Have]:
    remote = [entry for entry in entries if _has_to_be_asked(entry, offline=offline)]
    local = {entry.build.name: _local(entry) for entry in entries if entry not in remote}
    brought = dict(zip((each.build.name for each in remote), _pull(remote, talk, offline=offline), strict=True))
    return [local.get(entry.build.name) or brought[entry.build.name] for entry in entries]


def _has_to_be_asked(entry: RegistryEntry, *, offline: bool) -> bool:
    """Whether the build comes from the hub. Offline, any local copy of a build without a pin is accepted."""
    any_will_do = offline and entry.pin is None and isinstance(entry.locate(), Found)
    return entry.build.source == "hub" and not any_will_do


def _local(entry: RegistryEntry) -> _Have:
    """Return a build that is not downloaded. Raises ConfigError where its file is missing or wrong."""
    found = entry.locate()
    if not isinstance(found, Found):
        raise ConfigError(
            f"{entry.build.name}: the local file is missing or has the wrong size, and cannot be downloaded",
            hint=f"put the file where {entry.manifest} expects it",
        )
    return _Have(entry, entry.files(found.path))


def _pull(entries: Sequence[RegistryEntry], talk: Console, *, offline: bool) -> list[_Have]:
    if not entries:
        return []
    from localrouter.cli.progress import showing  # after --offline, and for a fast --help
    from localrouter.weights.hub.cached_file import cache_directory, write_ref
    from localrouter.weights.hub.download import Download, DownloadStop
    from localrouter.weights.hub.hub_client import Hub

    stop, cache = DownloadStop(), cache_directory()
    hub = Hub(offline=offline, pause=stop.pause, tell=talk.print)
    pins = [_pin(entry, hub, talk) for entry in entries]
    try:
        with showing(talk) as watch:
            brought = Download(hub, cache, watch, stop).run(pins)
    except KeyboardInterrupt:
        talk.print("interrupted; run the same command again to resume")
        raise
    for entry, pin in zip(entries, pins, strict=True):
        if entry.pin is None and entry.build.revision is None:
            write_ref(cache, pin, "main")
    return [
        _Have(entry, tuple(file.path for file in files), pin, files)
        for entry, pin, files in zip(entries, pins, brought, strict=True)
    ]


def _pin(entry: RegistryEntry, hub: "Hub", talk: Console) -> "Pin":
    """Return the pin of a build, or with a warning the hub's current revision where it has none."""
    if entry.pin is not None:
        return entry.pin
    repo, file, revision = entry.build.repo, entry.build.file, entry.build.revision
    assert repo is not None
    assert file is not None
    talk.print(
        f"warning: {entry.build.name} is not pinned. The file is taken from {repo} at {revision or 'main'} without "
        "verification: its owner, or an attacker on the network, can replace it, and another machine may get another "
        f"file. `localrouter lock {entry.name}` pins it.",
        style="yellow",
    )
    return hub.pin(repo, file, revision)


def _as_json(have: _Have) -> dict[str, Any]:
    return {
        "model": have.entry.build.name,
        "alias": have.entry.alias,
        "state": have.state,
        "repo": have.pin and have.pin.repo,
        "commit": have.pin and have.pin.commit,
        "files": [
            {"path": str(file.path), "size": file.file.size, "sha256": file.file.sha256, "state": file.outcome}
            for file in have.files
        ]
        or [
            {"path": str(path), "size": path.stat().st_size, "sha256": None, "state": "present"} for path in have.paths
        ],
    }

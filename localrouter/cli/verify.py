"""`localrouter verify`: checks the files of builds against sizes and digests, and reports damage with a remedy."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rich_click as click

from localrouter.cli.exit_status import exit_statuses
from localrouter.cli.list import human_size
from localrouter.cli.options import json_option, manifest_option, names_argument, talk
from localrouter.cli.progress import watching
from localrouter.errors import ConfigError
from localrouter.weights.registry import Registry, RegistryEntry
from localrouter.weights.verification import BuildVerdict, ExpectedFile, expected_files, verify

BAD = 1


@click.command("verify", epilog=exit_statuses("all files are good", "a file is bad"))
@names_argument
@manifest_option("Verify builds of this manifest instead of those of the shipped one and your own.")
@json_option
def verify_builds(names: tuple[str, ...], manifest: Path | None, *, as_json: bool) -> None:
    """Verify builds on this machine: size, header, tensor offsets, and sha256 of the whole file.

    Without names, every build on this machine.
    """
    files = {entry: expected_files(entry) for entry in Registry.read(manifest).select(names)}
    here = {entry: expected for entry, expected in files.items() if expected}
    _require(names, here, list(files))
    verdicts = [_verify(entry, expected) for entry, expected in here.items()]
    if as_json:
        click.echo(json.dumps([_as_json(verdict) for verdict in verdicts], indent=2))
    else:
        for verdict in verdicts:
            click.echo("\n".join(_lines(verdict)))
    bad = [verdict for verdict in verdicts if not verdict.good]
    for verdict in bad:
        talk(f"hint: {verdict.entry.build.name}: {verdict.remedy}")
    if not verdicts:
        talk("no build is on this machine")
    if bad:
        raise SystemExit(BAD)


def _require(
    names: Sequence[str], here: dict[RegistryEntry, tuple[ExpectedFile, ...]], asked: list[RegistryEntry]
) -> None:
    """Raise ConfigError if names are given and none of their builds is on this machine."""
    if names and not here:
        raise ConfigError(
            f"{', '.join(names)}: not on this machine", hint=f"download it with: localrouter pull {asked[-1].name}"
        )


def _verify(entry: RegistryEntry, expected: tuple[ExpectedFile, ...]) -> BuildVerdict:
    total = sum(_to_read(file) for file in expected)
    if total == 0:
        return verify(entry, expected)
    with watching(entry.build.name, total) as report:
        return verify(entry, expected, report)


def _to_read(file: ExpectedFile) -> int:
    """Return the bytes that will be hashed: 0 for a file of the wrong size, or without a known sha256."""
    size = file.path.stat().st_size if file.path.is_file() else 0
    return size if file.sha256 and file.size in {None, size} else 0


def _lines(verdict: BuildVerdict) -> list[str]:
    name, size = verdict.entry.build.name, sum(file.size for file in verdict.files)
    if verdict.good:
        remark = "" if verdict.hashed else ", header only: no sha256 is known for it"
        return [f"good  {name}  {human_size(size)}{remark}"]
    flaws = [f"{file.path}: {flaw}" for file in verdict.files for flaw in file.flaws]
    return [f"bad   {name}", *(f"      {flaw}" for flaw in [*flaws, *verdict.flaws])]


def _as_json(verdict: BuildVerdict) -> dict[str, Any]:
    return {
        "model": verdict.entry.build.name,
        "good": verdict.good,
        "flaws": list(verdict.flaws),
        "files": [
            {
                "path": str(file.path),
                "size": file.size,
                "good": file.good,
                "sha256": file.sha256,
                "flaws": list(file.flaws),
            }
            for file in verdict.files
        ],
        "remedy": None if verdict.good else verdict.remedy,
    }

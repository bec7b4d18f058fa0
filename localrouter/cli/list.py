"""`localrouter list`: models, the state of their builds on this machine, and the build that each alias resolves to."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rich_click as click
from rich.table import Table
from rich.text import Text

from localrouter.cli.exit_status import exit_statuses
from localrouter.cli.options import data_width, json_option, manifest_option, models_option, print_data, talk
from localrouter.gguf.header import GgufError
from localrouter.gguf.turn_format import FALLBACK_ADVICE, fallback_of_file
from localrouter.weights.catalog import BuildState, BuildStatus, Catalog, CatalogEntry
from localrouter.weights.extra_models import split_entries

_STATES = {
    BuildState.ON_DISK: ("on disk", "green"),
    BuildState.NOT_DOWNLOADED: ("not downloaded", "dim"),
    BuildState.MISSING: ("file missing", "yellow"),
    BuildState.WRONG_SIZE: ("wrong size", "red"),
}
_MARK = ">"
_LEGEND = f"{_MARK} serves the bare name; request others as NAME:VARIANT or by the full name"
_NAME, _SIZE = 2, 3
_NARROWEST_NAME = 12


@click.command("list", epilog=exit_statuses("listed"))
@manifest_option("Model manifest to use instead of the shipped one.")
@models_option
@json_option
def list_models(manifest: Path | None, models: tuple[str, ...], as_json: bool) -> None:
    """List the models, their builds, and the state of each build on this machine."""
    entries = Catalog.read(manifest, split_entries(models)).entries()
    fallbacks = {build: _fallback(build) for entry in entries for build in entry.builds}
    if as_json:
        click.echo(json.dumps([_as_json(entry, fallbacks) for entry in entries], indent=2))
        return
    widths = _widths(entries, data_width())
    for number, entry in enumerate(entries):
        if number:
            click.echo()
        print_data(Text.assemble((entry.alias, "bold"), "  ", (entry.description, "dim")))
        print_data(_table(entry, widths))
        if why := _why(entry):
            print_data(why)
        for build in entry.builds:
            if fallback := fallbacks[build]:
                print_data(Text(f"  {build.model}: no chat template, {fallback} is used", "yellow"))
    talk(f"\n{_LEGEND}", "dim")
    if any(build.state is BuildState.WRONG_SIZE for entry in entries for build in entry.builds):
        talk("wrong size: not the file that was pinned or added; run: localrouter verify NAME", "yellow")
    if any(fallbacks.values()):
        talk(f"no chat template: {FALLBACK_ADVICE}", "yellow")


def _fallback(build: BuildStatus) -> str | None:
    """Return the fallback chat template, named as in `/v1/models`; None where file or manifest have a template."""
    if build.path is None or build.chat_template is not None:
        return None
    try:
        turns = fallback_of_file(Path(build.path))
    except GgufError:
        return None  # `verify` reports damaged files
    return turns and f"fallback {turns}"


def human_size(size: int) -> str:
    """Return a size in bytes with three digits and a decimal (SI) unit, such as 2.74 GB."""
    value, unit, larger = float(size), "B", ["kB", "MB", "GB", "TB"]
    while value >= 999.5 and larger:
        value, unit = value / 1000, larger.pop(0)
    digits = 0 if unit == "B" or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {unit}"


def _table(entry: CatalogEntry, widths: Sequence[int]) -> Table:
    """Return a table of the builds of one alias, a row each."""
    table = Table.grid(padding=(0, 1, 0, 0))
    for column, width in enumerate(widths):
        table.add_column(width=width, overflow="fold", justify="right" if column == _SIZE else "left")
    for build in entry.builds:
        *cells, state = _cells(entry, build)
        table.add_row(*map(Text, cells), Text(state, _STATES[build.state][1]))
    return table


def _why(entry: CatalogEntry) -> Text | None:
    """Return why the marked build was chosen; None where there is only one build."""
    if entry.choice is None or len(entry.builds) == 1:
        return None
    return Text(f"{_MARK} {entry.choice.reason}", "dim" if entry.choice.fits else "yellow")


def _cells(entry: CatalogEntry, build: BuildStatus) -> tuple[str, str, str, str, str, str]:
    return (
        _MARK if build == entry.chosen else "",
        build.variant or "",
        build.model,
        "" if build.size is None else human_size(build.size),
        build.license or "",
        _STATES[build.state][0],
    )


def _widths(entries: list[CatalogEntry], total: int) -> list[int]:
    """Return column widths shared by all tables; full names are folded where the width is not enough."""
    rows = [_cells(entry, build) for entry in entries for build in entry.builds]
    widths = [max(1, *map(len, column)) for column in zip(*rows, strict=True)]
    if widths:
        spare = total - sum(widths) - (len(widths) - 1)
        widths[_NAME] = max(_NARROWEST_NAME, widths[_NAME] + min(0, spare))
    return widths


def _as_json(entry: CatalogEntry, fallbacks: Mapping[BuildStatus, str | None]) -> dict[str, Any]:
    return {
        "alias": entry.alias,
        "description": entry.description,
        "reason": entry.choice.reason if entry.choice else None,
        "builds": [
            {
                "model": build.model,
                "variant": build.variant,
                "source": build.source,
                "state": build.state.value,
                "size": build.size,
                "license": build.license,
                "fallback_template": fallbacks[build],
                "chosen": build == entry.chosen,
            }
            for build in entry.builds
        ],
    }

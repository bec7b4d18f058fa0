"""`localrouter show`: details of the builds of a name: source, pin, files and GGUF header."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import rich_click as click
from rich.table import Table
from rich.text import Text

from localrouter.cli.exit_status import exit_statuses
from localrouter.cli.list import human_size
from localrouter.cli.options import json_option, manifest_option, print_data
from localrouter.gguf.turn_format import FALLBACK_ADVICE
from localrouter.weights.build_facts import facts
from localrouter.weights.registry import Registry

_STATES = {
    "on_disk": "on disk",
    "wrong_size": "wrong size: run localrouter verify {name}",
    "not_downloaded": "not downloaded: run localrouter pull {name}",
    "missing": "the file is missing",
}
_WARNING = "warning"


@click.command("show", epilog=exit_statuses("shown"))
@click.argument("name", metavar="NAME[:VARIANT]")
@manifest_option("Read this manifest instead of the shipped one and your own.")
@json_option
def show(name: str, manifest: Path | None, *, as_json: bool) -> None:
    """Show the details of a build: source, licence, pin, path on disk, and the facts of its GGUF header."""
    registry = Registry.read(manifest)
    found = [_with_alias(registry, facts(entry)) for entry in registry.find(name)]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for number, known in enumerate(found):
        if number:
            click.echo()
        print_data(Text(known["model"], "bold"))
        table = Table.grid(padding=(0, 1, 0, 0))
        table.add_column()
        table.add_column(overflow="fold")
        for label, value in _rows(known):
            table.add_row(Text(f"  {label}", "dim"), Text(value, "yellow" if label == _WARNING else ""))
        print_data(table)


def _with_alias(registry: Registry, known: dict[str, Any]) -> dict[str, Any]:
    model = registry.models[known["alias"]]
    return known | {
        "description": model.description,
        "overrides": model.overrides.model_dump(exclude_none=True),
        "system": model.system,
        "sampling": model.sampling and model.sampling.model_dump(exclude_none=True),
    }


def _rows(known: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield labels and values; facts that are not known are left out."""
    name = f"{known['alias']}:{known['variant']}" if known["variant"] else known["model"]
    yield "names", f"{name}, {known['model']}" if name != known["model"] else name
    rows = (
        ("alias", known["alias"]),
        ("description", known["description"]),
        ("settings", _assignments(known["overrides"])),
        ("system", known["system"]),
        ("sampling", known["sampling"] and _assignments(known["sampling"])),
        ("license", known["license"] or "not known"),
        ("source", _source(known)),
        ("revision", known["revision"]),
        ("pinned by", known["pinned_by"] or ("nothing: run localrouter lock " + name if known["repo"] else None)),
        ("size", f"{human_size(known['size'])} ({known['size']:,} bytes)" if known["size"] else None),
        ("sha256", known["sha256"]),
        ("chat template", known["chat_template"]),
        ("template", known["template_sha256"] and f"sha256 {known['template_sha256']}"),
        ("state", _STATES[known["state"]].format(name=name)),
        *(("path", path) for path in known["paths"]),
        ("named in", known["manifest"]),
    )
    yield from ((label, str(value)) for label, value in rows if value)
    header = known["header"] or {}
    if fallback := header.get("fallback_template"):
        yield _WARNING, f"no chat template: {fallback} is used; {FALLBACK_ADVICE}"
    yield from _header_rows(header)


def _assignments(values: Mapping[str, Any]) -> str:
    """Return keys and values as in a manifest."""
    return ", ".join(f"{key} = {json.dumps(value)}" for key, value in values.items())


def _source(known: dict[str, Any]) -> str:
    return known["page"] or {"path": "a file of this machine", "asset": "shipped with localrouter"}[known["source"]]


def _header_rows(header: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if "error" in header:
        yield "header", header["error"]
        return
    for key, value in header.items():
        if value is not None and key not in {"template_sha256", "version", "fallback_template"}:
            text = human_size(value) if key == "weight_bytes" else f"{value:,}" if type(value) is int else str(value)
            yield f"header: {key.replace('_', ' ')}", {"True": "yes", "False": "no"}.get(text, text)

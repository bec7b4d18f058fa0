"""`localrouter plan`: memory requirements of builds, and whether they fit this machine."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import rich_click as click
from msgspec.structs import replace
from rich.table import Table
from rich.text import Text

from localrouter.cli.exit_status import exit_statuses
from localrouter.cli.list import human_size
from localrouter.cli.options import (
    go_offline,
    json_option,
    manifest_option,
    models_option,
    names_argument,
    offline_option,
    print_data,
    talk,
)
from localrouter.cli.settings import machine_of, settings_of
from localrouter.config import EngineSettings
from localrouter.errors import ConfigError
from localrouter.load_options import CONTEXT_LIMITS, SEQUENCES_LIMITS, LoadOptions, Switch
from localrouter.memory.fit import Fit, Place, fit
from localrouter.memory.machine import Machine
from localrouter.memory.plan import KV_TYPES, Memory, Plan, context_params
from localrouter.memory.pool import POOL
from localrouter.memory.shape import Shape
from localrouter.weights.build_shapes import shape_of_build
from localrouter.weights.extra_models import check_entry, split_entries
from localrouter.weights.hub.remote_header import Ranges
from localrouter.weights.manifest.manifest import Build, Overrides
from localrouter.weights.registry import Registry, RegistryEntry

_LEGEND = """\
KV: keys, values and recurrent states (w: sliding layers hold windows only);
other: compute buffers and logits.
longest: the longest context that fits. facts: taken from the file, the header
on the hub, the manifest, or the size alone (+: without cache and buffers)."""

_SETTINGS = ("kv_type", "swa_full", "device", "tensor_split")
"""Options that are also settings of `localrouter serve`."""


@dataclass(frozen=True)
class _Row:
    entry: RegistryEntry
    shape: Shape
    machine: Machine
    """This machine with the GPUs that the build is planned for."""
    fit: Fit | None
    """None where not even the size is known."""


@click.command("plan", epilog=exit_statuses("planned, whether anything fits or not"))
@names_argument
@models_option
@click.option(
    "--context", type=click.IntRange(*CONTEXT_LIMITS), metavar="TOKENS", help="Context of a conversation, in tokens."
)
@click.option(
    "--parallel",
    type=click.IntRange(*SEQUENCES_LIMITS),
    default=1,
    metavar="N",
    help="Concurrent conversations of that length.",
)
@click.option("--kv-type", type=click.Choice([*KV_TYPES]), help="Quantization of the KV cache.")
@click.option(
    "--swa-full", type=click.Choice(get_args(Switch)), help="Whether sliding-window layers hold the whole context."
)
@click.option("--device", metavar="NAME[,NAME]", help="GPUs for GPU offload, as listed by `localrouter devices`.")
@click.option("--tensor-split", metavar="N,N", help="Proportions in which these GPUs share the layers, such as 3,1.")
@manifest_option("Model manifest to use instead of the shipped one.")
@offline_option
@json_option
def plan(
    names: tuple[str, ...], context: int | None, parallel: int, manifest: Path | None, *, as_json: bool, **more: Any
) -> None:
    """Show the memory that builds need, and whether it fits this machine.

    Without NAME: all builds, from data on this machine. For a NAME that is not downloaded, the header is read from the
    hub, some 15 MB. Settings without an option come from the alias in the manifest, else from the environment, as for
    `localrouter serve`.
    """
    go_offline(more["offline"])
    given = _given(split_entries(more["models"]))
    entries = [(entry, Overrides()) for entry in given]
    if names or not given:
        registry = Registry.read(manifest)
        entries += [(entry, registry.models[entry.alias].overrides) for entry in registry.select(names)]
    hub = None if more["offline"] or not names else _hub()
    planner = _Planner({"context": context, **{name: more[name] for name in _SETTINGS}}, parallel, hub)
    rows = [planner.row(entry, overrides) for entry, overrides in entries]
    machine = planner.machine
    if as_json:
        builds = [_as_json(row, row.machine) for row in rows]
        click.echo(json.dumps({"machine": asdict(machine), "builds": builds}, indent=2))
        return
    print_data(_table(rows))
    settings = planner.settings
    talk(f"\n{_LEGEND}\n{_asked(settings.context, parallel, settings.kv_type)}\n{in_words(machine)}", "dim")


class _Planner:
    """Plans builds with the options of the command, else the settings of their alias, else those of the server."""

    def __init__(self, asked: Mapping[str, object], parallel: int, hub: Ranges | None) -> None:
        """`asked` are the options of the command by the names of the settings; None: not given."""
        self._asked = [name for name, value in asked.items() if value is not None]
        self._parallel = parallel
        self._hub = hub
        self.settings = settings_of(EngineSettings, asked)
        self.machine = machine_of(self.settings)
        """This machine with the GPUs of the server's settings."""

    def row(self, entry: RegistryEntry, overrides: Overrides) -> _Row:
        """Return the plan of a build whose alias has these settings."""
        shape = shape_of_build(entry, self._hub, lambda why: talk(why, "yellow"))
        options, machine = self._for_alias(entry, overrides.model_copy(update=dict.fromkeys(self._asked)))
        if not shape.weights:
            return _Row(entry, shape, machine, None)
        params = context_params(options, (options.context or entry_context(shape)) * self._parallel)
        fitted = fit(shape, params, machine, parallel=self._parallel, swa_full=options.swa_full)
        return _Row(entry, shape, machine, fitted)

    def _for_alias(self, entry: RegistryEntry, overrides: Overrides) -> tuple[LoadOptions, Machine]:
        """Return the options and the machine for an alias; GPUs that are not on this machine are left out of it."""
        options = replace(self.settings.load_options, max_sequences=max(self._parallel, self.settings.max_sequences))
        if overrides.device is None and overrides.tensor_split is None:
            return overrides.replace_in(options), self.machine
        gpus = overrides.model_dump(include={"device", "tensor_split"}, exclude_none=True)
        try:
            return overrides.replace_in(options), machine_of(self.settings.model_copy(update=gpus))
        except ConfigError as error:
            talk(f"{entry.name}: the manifest chooses other GPUs: {error.message}", "yellow")
            return overrides.model_copy(update=dict.fromkeys(gpus)).replace_in(options), self.machine


def _given(models: Mapping[str, str]) -> list[RegistryEntry]:
    """Return the files of `--model` as entries; models without weights are left out."""
    origins = [(alias, check_entry(alias, value).origin) for alias, value in models.items()]
    return [RegistryEntry(alias, origin, Path()) for alias, origin in origins if isinstance(origin, Build)]


def _asked(context: int | None, parallel: int, kv_type: str) -> str:
    length = f"{context:,} tokens" if context else f"{POOL:,} tokens, or what the model was trained for"
    return f"Planned for: {length}; {parallel} concurrent; KV cache {kv_type}."


def entry_context(shape: Shape) -> int:
    """Return the default context to plan for, in tokens: the engine's pool, at most the model's trained context."""
    return min(shape.trained or POOL, POOL)


def in_words(machine: Machine) -> str:
    """Return the memory of a machine as a sentence."""
    words = f"This machine: {human_size(machine.ram_free)} of {human_size(machine.ram_total)} RAM free"
    for gpu in machine.gpus:
        words += f"; {f'{gpu.device} {gpu.name}'.strip()}: {human_size(gpu.free)} of {human_size(gpu.total)} free"
    if not machine.gpus:
        words += ", no GPU that llama.cpp could use"
    return words + (", which is the same memory." if machine.unified else ".")


def _hub() -> Ranges:
    from localrouter.weights.hub.hub_client import Hub  # takes 0.2 s, so only when needed

    return Hub(tell=talk)


def _table(rows: Sequence[_Row]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for title in ("build", "weights", "KV", "other", "total", "fits", "longest", "facts"):
        left = title in {"build", "fits", "facts"}
        table.add_column(title, justify="left" if left else "right", overflow="fold", no_wrap=title != "build")
    for row in rows:
        table.add_row(*_cells(row))
    return table


def _cells(row: _Row) -> list[Text]:
    if row.fit is None:
        return [Text(row.entry.name), *[Text("?")] * 6, Text(row.shape.source, "dim")]
    both = row.fit.plan.both
    known = row.shape.complete
    return [
        Text(row.entry.name),
        Text(human_size(both.weights)),
        Text(human_size(both.cache + both.states) + _windows(row.fit) if known else "?"),
        Text(human_size(both.compute + both.logits) if known else "?"),
        Text(human_size(both.total) + ("" if known else " +"), "bold"),
        _place(row.fit),
        Text(f"{row.fit.longest:,}" if row.fit.longest else "?" if not known else "-"),
        Text(row.shape.source, "dim"),
    ]


def _windows(fitted: Fit) -> str:
    only = fitted.plan.shape.sliding and not fitted.plan.params.swa_full
    return " w" if only else ""


def _place(fitted: Fit) -> Text:
    match fitted.place:
        case Place.GPU:
            return Text("GPU", "green") if fitted.plan.shape.complete else Text("GPU ?", "yellow")
        case Place.BOTH:
            return Text(f"{fitted.layers_on_gpu}/{len(fitted.plan.shape.layers) + 1} GPU", "yellow")
        case Place.RAM:
            return Text("RAM", "green") if fitted.plan.shape.complete else Text("RAM ?", "yellow")
    return Text("no", "red")


def _as_json(row: _Row, machine: Machine) -> dict[str, Any]:
    told: dict[str, Any] = {"model": row.entry.build.name, "name": row.entry.name, "facts": row.shape.source}
    if row.fit is None:
        return told | {"complete": False, "place": None}
    planned = row.fit.plan
    return told | {
        "complete": row.shape.complete,
        "cells": planned.params.cells,
        "kv_type": planned.params.kv_type,
        "swa_full": planned.params.swa_full if row.shape.sliding else None,
        "ram": _bytes(planned.ram),
        "gpu": _bytes(planned.gpu),
        "gpus": _on_each_gpu(planned, machine),
        "place": row.fit.place.value,
        "layers": len(row.shape.layers) + 1,
        "layers_on_gpu": row.fit.layers_on_gpu,
        "longest_context": row.fit.longest or None,
        "trained_context": row.shape.trained,
    }


def _on_each_gpu(planned: Plan, machine: Machine) -> list[dict[str, Any]]:
    """Return the memory used on each GPU of the machine; zeros in a plan for the CPU."""
    parts = planned.gpus if planned.params.gpu_layers else [Memory() for _ in machine.gpus]
    return [{"device": gpu.device, **_bytes(part)} for gpu, part in zip(machine.gpus, parts, strict=True)]


def _bytes(memory: Memory) -> dict[str, int]:
    return {**asdict(memory), "total": memory.total}

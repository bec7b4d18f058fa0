"""`localrouter bench`: TTFT, ITL and throughput of models on this machine, compared with llama-server and limits."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from localrouter.bench.synthetic.model_shapes import SHAPES
from localrouter.bench.synthetic.tensor_layout import size_of
from localrouter.bench.workloads import QUICK, WORKLOADS
from localrouter.cli.exit_status import FAILED, exit_statuses
from localrouter.cli.list import human_size
from localrouter.cli.options import FILE, Command, print_data, talk
from localrouter.cli.progress import watching
from localrouter.errors import ConfigError

if TYPE_CHECKING:
    from localrouter.bench.environment import Environment
    from localrouter.bench.results.results_report import ModelResults
    from localrouter.bench.run_progress import RunProgress
    from localrouter.bench.servers.bench_server import BenchServer
    from localrouter.bench.servers.peer import Peer

DEFAULT_SHAPE = "qwen3-tiny"
_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
_GGUF = click.Path(path_type=Path, dir_okay=False, exists=True)
_SIZES = ", ".join(f"{name} ({human_size(size_of(shape))})" for name, shape in SHAPES.items())
_COUNT = click.IntRange(min=1)


@dataclass(frozen=True)
class _Asked:
    """Parsed options of `localrouter bench`."""

    shape: tuple[str, ...]
    model: Path | None
    workload: tuple[str, ...]
    repeat: int
    threads: int | None
    peer: str | None
    peer_model: str | None
    peer_bin: Path | None
    build_peer: bool
    json: Path | None
    markdown: Path | None
    quick: bool
    offline: bool

    def require_sense(self) -> None:
        """Raise ConfigError for options that exclude each other."""
        peers = {"--peer": self.peer, "--peer-bin": self.peer_bin, "--build-peer": self.build_peer}
        for pair in ({"--shape": self.shape, "--model": self.model}, peers):
            given = [name for name, value in pair.items() if value]
            if len(given) > 1:
                raise ConfigError(f"{' and '.join(given)} exclude each other", hint="pass one of them")
        if self.peer_model and not self.peer:
            raise ConfigError("--peer-model selects a model of the server at --peer", hint="pass --peer URL too")


def _choice(name: str, values: list[str], text: str) -> Callable[[Command], Command]:
    """Return a repeatable option whose allowed values are listed in its help text only."""

    return click.option(name, type=click.Choice(values), metavar=name[2:].upper(), multiple=True, help=text)


@click.command("bench", epilog=exit_statuses("measured", "a stream of localrouter broke"))
@_choice(
    "--shape",
    [*SHAPES],
    f"Measure a synthetic model of this shape, cached on disk; repeatable. {_SIZES}. [default: {DEFAULT_SHAPE}]",
)
@click.option("--model", type=_GGUF, metavar="FILE.gguf", help="Measure this model instead.")
@_choice(
    "--workload", [*WORKLOADS], f"Run only this workload, and measure no limits; repeatable. {', '.join(WORKLOADS)}."
)
@click.option("--repeat", type=_COUNT, metavar="N", default=3, help="Runs of each workload. [default: 3]")
@click.option(
    "--threads", type=_COUNT, metavar="N", help="CPU threads of localrouter. [default: chosen by localrouter]"
)
@click.option("--peer", metavar="URL", help="Compare with a running server on this machine.")
@click.option("--peer-model", metavar="ID", help="Model of that server, where it has several.")
@click.option("--peer-bin", type=_FOLDER, metavar="DIR", help="Compare with llama.cpp's programs in this folder.")
@click.option("--build-peer", is_flag=True, help="Build llama.cpp's programs first; later runs reuse them.")
@click.option("--json", type=FILE, metavar="FILE", help="Write the figures of every run to this file.")
@click.option("--markdown", type=FILE, metavar="FILE", help="Write the tables and the environment to this file.")
@click.option("--quick", is_flag=True, help=f"Run {' and '.join(QUICK)} only, once each.")
@click.option(
    "--offline",
    is_flag=True,
    envvar="LOCALROUTER_OFFLINE",
    help="Download nothing; connect only to servers on this machine. [LOCALROUTER_OFFLINE]",
)
def bench(**options: Any) -> None:
    """Measure time to first token (TTFT), inter-token latency (ITL) and throughput of models on this machine.

    Workloads: one stream, concurrent streams, long prompts, conversations. The server runs with default settings. Where
    llama.cpp's programs are available, llama-server gets the same model and the same requests in alternation, and
    llama-bench and llama-batched-bench give the limits of the engine. Results are saved in localrouter's cache folder;
    "change" compares with the previous results of the same model.
    """
    asked = _Asked(**options)
    asked.require_sense()
    with _ended_by_sigterm():
        spoiled = _run(asked)
    if spoiled:
        raise SystemExit(FAILED)


def _run(asked: _Asked) -> bool:
    """Measure all models, print and write the results. Returns whether a stream of localrouter was broken."""
    # Imported here because numpy and the HTTP client would slow down --help.
    from localrouter.bench.environment import Environment
    from localrouter.bench.run_progress import RunProgress
    from localrouter.bench.session import BenchSession

    machine, progress = Environment.this(), RunProgress()
    _introduce(machine)
    peer = _peer(asked, progress)
    session = BenchSession(machine, progress, peer, asked.repeat, asked.workload, asked.threads, asked.quick)
    everything = list["ModelResults"]()
    try:
        for name, model in _models(asked):
            everything.append(session.measure(name, model))
            _show(everything[-1])
    finally:  # results measured before an error or Ctrl-C are written too
        if everything:
            _write(asked, everything, machine)
    return any(results.spoiled for results in everything)


def _write(asked: _Asked, everything: "list[ModelResults]", machine: "Environment") -> None:
    from localrouter.bench.results import results_report  # imports numpy, which would slow down --help

    if asked.json:
        results_report.save(asked.json, [results_report.as_json(results, machine) for results in everything])
    if asked.markdown:
        asked.markdown.parent.mkdir(parents=True, exist_ok=True)
        asked.markdown.write_text(results_report.markdown_of(everything, machine), encoding="utf-8")


def _introduce(machine: "Environment") -> None:
    from localrouter.bench.environment import BUSY

    talk(str(machine))
    if machine.busy > BUSY:
        talk(f"Other programs use {100 * machine.busy:.0f} % of the CPU: the results will be too slow.", "yellow")


def _peer(asked: _Asked, progress: "RunProgress") -> "Peer | BenchServer | None":
    from localrouter.bench.servers.bench_server import running_server
    from localrouter.bench.session import programs

    if asked.peer is None:
        return programs(asked.peer_bin, progress, build=asked.build_peer, offline=asked.offline)
    server = running_server(asked.peer, asked.peer_model)
    talk(f"The comparison is valid only if {server.endpoint.model} at {asked.peer} is the same GGUF.", "yellow")
    return server


def _models(asked: _Asked) -> Iterator[tuple[str, Path]]:
    """Yield the name and the file of each model; a synthetic model is written just before it is measured."""
    from localrouter.bench.synthetic.model_writer import synthetic_model

    if asked.model:
        yield asked.model.stem, asked.model
        return
    for name in dict.fromkeys(asked.shape or (DEFAULT_SHAPE,)):
        with watching(f"writing {name}", size_of(SHAPES[name])) as report:
            model = synthetic_model(name, SHAPES[name], report=report)
        yield name, model


def _show(results: "ModelResults") -> None:
    from localrouter.bench.results.results_report import table_of

    print_data(table_of(results))
    for flaw in results.flaws:
        talk(f"broken: {flaw}", "red")


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C, so that servers started by the benchmark are stopped."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

"""`python -m benchmarks`: goals that hold on any machine, cost of handling large files, and speed of the sampler."""

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from benchmarks import baseline, sampler
from benchmarks.files import goals_of, measure_files
from benchmarks.goal import Goal, table_of_goals
from localrouter.bench.environment import Environment
from localrouter.bench.results import results_report
from localrouter.bench.results.measure import Measure
from localrouter.bench.results.results_report import ModelResults
from localrouter.bench.run_progress import RunProgress
from localrouter.bench.servers.peer import Peer
from localrouter.bench.session import programs
from localrouter.bench.synthetic.model_shapes import SHAPES
from localrouter.bench.synthetic.model_writer import synthetic_model
from localrouter.errors import OperatorError

RESULTS = Path(__file__).parent / "results"
WHAT = "goals for any machine, goals for commands that handle large files, or sampling times; default: %(default)s"
FILE_SIZE = 2000
MISSED = 1
UNUSABLE = 2
INTERRUPTED = 130


@dataclass(frozen=True)
class Found:
    """Results of one benchmark: the model, its measures and its goals."""

    model: str
    measures: Sequence[Measure] = ()
    goals: Sequence[Goal] = ()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark of the command line. Returns 1 when a goal was missed, 2 when nothing could run."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options, RunProgress())
    except KeyboardInterrupt:
        return INTERRUPTED
    except OperatorError as error:
        print(f"error: {error.message}", f"hint: {error.hint}" if error.hint else "", sep="\n", file=sys.stderr)
        return UNUSABLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("what", nargs="?", choices=("baseline", "files", "sampler"), default="baseline", help=WHAT)
    add("--repeat", type=_positive, default=3, metavar="N", help="runs of each measure; default: %(default)s")
    add(
        "--size",
        type=_positive,
        default=FILE_SIZE,
        metavar="MB",
        help="size of the file for `files`; default: %(default)s",
    )
    add("--json", type=Path, metavar="FILE", help="also write the figures of every run to this file")
    peer = parser.add_mutually_exclusive_group()
    peer.add_argument("--peer-bin", type=Path, metavar="DIR", help="compare with the llama.cpp programs in DIR")
    peer.add_argument(
        "--build-peer", action="store_true", help="build llama.cpp's programs first; later runs reuse them"
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _run(options: argparse.Namespace, progress: RunProgress) -> int:
    machine = Environment.this()
    console = Console(highlight=False)
    print(machine, file=sys.stderr)
    found = _measured(options, progress)
    last = RESULTS / f"{_name(options)}.json"
    results = ModelResults(found.model, options.repeat, found.measures)
    if found.goals:
        console.print(table_of_goals(found.goals))
    else:
        console.print(results_report.table_of(replace(results, before=results_report.last_medians(last, machine))))
    everything = results_report.as_json(results, machine) | {"goals": [goal.as_json() for goal in found.goals]}
    for file in (last, options.json):
        if file:
            results_report.save(file, everything)
    return MISSED if any(goal.is_met is False for goal in found.goals) else 0


def _name(options: argparse.Namespace) -> str:
    """Return the name of the results file; runs with the same name can be compared."""
    sized = options.what == "files" and options.size != FILE_SIZE
    return f"files-{options.size}mb" if sized else str(options.what)


def _measured(options: argparse.Namespace, progress: RunProgress) -> Found:
    if options.what == "sampler":
        return Found(f"a vocabulary of {sampler.VOCABULARY}", sampler.measures(progress))
    if options.what == "files":
        measures = measure_files(options.size * 1_000_000, options.repeat, progress)
        return Found(f"{options.size} MB of random tensors", measures, goals_of(measures))
    peer = programs(options.peer_bin, progress, build=options.build_peer, offline=False)
    return Found("qwen3-tiny, qwen3-0.6b, demo", goals=_baseline(options.repeat, peer, progress))


def _baseline(repeat: int, peer: Peer | None, progress: RunProgress) -> list[Goal]:
    goals = baseline.batching(_model("qwen3-tiny", progress), repeat, progress)
    goals += baseline.demo(progress)
    goals.append(baseline.generation(_model("qwen3-0.6b", progress), peer, repeat, progress))
    return goals


def _model(name: str, progress: RunProgress) -> Path:
    progress.say(f"model of the shape {name}")
    return synthetic_model(name, SHAPES[name])


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that SIGTERM stops the servers too
    sys.exit(main())

"""`python -m benchmarks`: measures localrouter, beside llama.cpp where its programs are at hand, and beside tar."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import baseline, report
from benchmarks.comparison import Plan, compare, measure_parts
from benchmarks.files import goals_of, measure_files
from benchmarks.measure import OURS, Goal, Measure
from benchmarks.peer import Peer, PeerMissing, build_peer, built_folder, find_peer
from benchmarks.processes import Machine, ProgramFailed
from benchmarks.progress import Progress
from benchmarks.shapes import SHAPES
from benchmarks.synthetic import synthetic_model
from benchmarks.vocabulary import VocabularyError
from benchmarks.workloads import WORKLOADS

QUICK = ("single", "many32")
PART_TOKENS, QUICK_PART_TOKENS = 128, 32
WHAT = "all workloads, the goals only, or the goals of commands that handle large files; default: %(default)s"
FILE_SIZE = 2000
SPOILED = 1
UNUSABLE = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for. Returns 1 when a stream of ours broke or a goal was missed, 2 when nothing could run."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options, Progress())
    except KeyboardInterrupt:
        return INTERRUPTED
    except (ProgramFailed, PeerMissing, VocabularyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return UNUSABLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("what", nargs="?", choices=("compare", "baseline", "files"), default="compare", help=WHAT)
    add(
        "--model-shape", choices=SHAPES, default="qwen3-tiny", help="shape of the synthetic model; default: %(default)s"
    )
    add("--vocab", type=Path, metavar="FILE.gguf", help="take the tokenizer of this GGUF instead of a made-up one")
    add("--seed", type=int, default=0, help="seed of the synthetic weights")
    add("--workload", choices=WORKLOADS, action="append", help="only this one; repeatable")
    add("--repeat", type=_positive, default=3, metavar="N", help="runs of each workload; default: %(default)s")
    add("--threads", type=_positive, metavar="N", help="threads of ours, instead of its own choice")
    add("--size", type=_positive, default=FILE_SIZE, metavar="MB", help="of the file for `files`; default: %(default)s")
    add("--quick", action="store_true", help=f"all once, of the workloads only {' and '.join(QUICK)}")
    add("--json", type=Path, metavar="FILE", help="write all figures of all runs here too")
    peer = parser.add_mutually_exclusive_group()
    peer.add_argument("--peer-bin", type=Path, metavar="DIR", help="compare with the llama.cpp programs in DIR")
    peer.add_argument("--build-peer", action="store_true", help="build them first; later runs find them by themselves")
    add("--peer-sampling", choices=("openai", "own"), default="openai", help="how llama-server samples")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _run(options: argparse.Namespace, progress: Progress) -> int:
    machine = Machine.this()
    console = Console(highlight=False)
    report.print_machine(Console(stderr=True, highlight=False), machine)
    measures, goals = list[Measure](), list[Goal]()
    last = report.RESULTS / f"{_name(options)}.json"
    if options.what == "files":
        measures = measure_files(options.size * 1_000_000, _repeat(options), progress)
        goals = goals_of(measures)
    elif options.what == "baseline":
        goals = _baseline(options, _peer(options, progress), progress)
    else:
        measures = _compare(options, _peer(options, progress), progress)
    if goals:
        console.print(report.table_of_goals(goals))
    else:
        console.print(report.table_of(measures, report.last_medians(last, machine)))
    for measure in measures:
        for flaw in measure.flaws:
            console.print(f"[red]broken[/] in {measure.name}: {flaw}")
    results = report.as_json(machine, _model_name(options), measures, goals)
    for file in (None if options.workload else last, options.json):
        if file:
            report.save(file, results)
    spoiled = any(flaw.startswith(OURS) for measure in measures for flaw in measure.flaws)
    return SPOILED if spoiled or any(goal.is_met is False for goal in goals) else 0


def _name(options: argparse.Namespace) -> str:
    """Return what the results are kept under: runs of one name can be compared."""
    parts = [options.what]
    if options.what == "compare":
        parts.append(options.model_shape)
    if options.what == "files" and options.size != FILE_SIZE:
        parts.append(f"{options.size}mb")
    if options.vocab:
        parts.append(options.vocab.stem)
    if options.quick:
        parts.append("quick")
    return "-".join(parts)


def _model_name(options: argparse.Namespace) -> str:
    return f"{options.size} MB of random tensors" if options.what == "files" else str(options.model_shape)


def _repeat(options: argparse.Namespace) -> int:
    return 1 if options.quick else int(options.repeat)


def _peer(options: argparse.Namespace, progress: Progress) -> Peer | None:
    peer = _programs(options, progress)
    if peer and not peer.repack:
        progress.say(
            "the AMX kernels of these programs crash, so they run with --no-repack; --build-peer builds good ones"
        )
    return peer


def _programs(options: argparse.Namespace, progress: Progress) -> Peer | None:
    if options.peer_bin:
        return find_peer(options.peer_bin)
    if options.build_peer:
        return build_peer(progress)
    try:
        return find_peer(built_folder())
    except PeerMissing:
        progress.say("no programs of llama.cpp to compare with: --build-peer builds them")
        return None


def _model(options: argparse.Namespace, name: str, progress: Progress) -> Path:
    progress.say(f"model of the shape {name}")
    return synthetic_model(name, SHAPES[name], seed=options.seed, vocab=options.vocab)


def _compare(options: argparse.Namespace, peer: Peer | None, progress: Progress) -> list[Measure]:
    names = options.workload or (QUICK if options.quick else WORKLOADS)
    plan = Plan(
        model=_model(options, options.model_shape, progress),
        workloads=[WORKLOADS[name] for name in names],
        repeat=_repeat(options),
        peer=peer,
        peer_samples_its_way=options.peer_sampling == "own",
        threads=options.threads,
    )
    measures = compare(plan, progress)
    if not options.workload:
        measures += measure_parts(plan, QUICK_PART_TOKENS if options.quick else PART_TOKENS, progress)
    return measures


def _baseline(options: argparse.Namespace, peer: Peer | None, progress: Progress) -> list[Goal]:
    repeat = _repeat(options)
    goals = baseline.batching(_model(options, "qwen3-tiny", progress), repeat, progress)
    goals += baseline.demo(progress)
    goals.append(baseline.generation(_model(options, "qwen3-0.6b", progress), peer, repeat, progress))
    return goals


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that servers are stopped then, too
    sys.exit(main())

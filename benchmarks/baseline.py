"""Goals that hold on any machine: batching raises throughput, the server costs little, and nothing when idle."""

import time
from pathlib import Path
from statistics import median

from benchmarks.goal import Goal
from benchmarks.idle import cpu_share
from localrouter.bench.comparison import SEEDS_APART
from localrouter.bench.load import load_generator
from localrouter.bench.load.figures import LoadFigures
from localrouter.bench.run_progress import RunProgress
from localrouter.bench.servers import bench_server
from localrouter.bench.servers.bench_server import BenchServer
from localrouter.bench.servers.peer import DEMO, Peer
from localrouter.bench.workloads import WORKLOADS

BATCHING = 2.5
"""Minimum ratio of the throughput of 32 streams to that of one stream."""
SHARE_OF_BENCH = 90.0
"""Minimum percentage of llama-bench's throughput for one stream over HTTP."""
PARENT_MEMORY = 150.0
"""Maximum MB of the HTTP process, with the demo model loaded."""
IDLE_CPU = 1.0
"""Maximum percentage of a core used by both processes together when idle."""
IDLE_SECONDS = 5.0
BENCH_TOKENS = 128


def batching(model: Path, repeat: int, progress: RunProgress) -> list[Goal]:
    """Return the goals of batching: the throughput of 32 streams against one, and no broken stream."""
    singles, manies = [], []
    with bench_server.localrouter(model) as server:
        for turn in range(repeat):
            progress.say(f"one stream and 32 streams, {turn + 1}/{repeat}, on {model.name}")
            singles.append(_run(server, "single", turn))
            manies.append(_run(server, "many32", turn))
    one, many = (median(figures.rate for figures in several) for several in (singles, manies))
    remark = f"{many:.0f} against {one:.0f} tokens per second"
    return [
        Goal("32 streams against one, qwen3-tiny", many / one, BATCHING, "times", at_least=True, remark=remark),
        _whole("broken streams, qwen3-tiny", [*singles, *manies]),
    ]


def generation(model: Path, peer: Peer | None, repeat: int, progress: RunProgress) -> Goal:
    """Return the goal of one stream against llama-bench, which neither samples nor serves."""
    name = "one stream between its first and last token against llama-bench tg, qwen3-0.6b"
    if peer is None:
        return Goal(name, None, SHARE_OF_BENCH, "%", at_least=True, remark="needs --peer-bin or --build-peer")
    ours, theirs = [], []
    with bench_server.localrouter(model) as server:
        for turn in range(repeat):
            progress.say(f"one stream and llama-bench, {turn + 1}/{repeat}, on {model.name}")
            ours.append(_run(server, "single", turn).stream_rate)
            theirs.append(peer.generation_rate(model, BENCH_TOKENS))
    share = 100 * median(ours) / median(theirs)
    remark = f"{median(ours):.1f} against {median(theirs):.1f} tokens per second"
    return Goal(name, share, SHARE_OF_BENCH, "%", at_least=True, remark=remark)


def demo(progress: RunProgress) -> list[Goal]:
    """Return the goals of the demo model: no broken stream of 32, memory of the HTTP process, and idle CPU."""
    memory = ("memory of the serving process, demo loaded", PARENT_MEMORY, "MB")
    idle = ("CPU of both processes, idle", IDLE_CPU, "% of a core")
    if not DEMO.is_file():
        missing = "this installation has no demo model"
        return [Goal(name, None, limit, unit, False, missing) for name, limit, unit in (memory, idle)]
    with bench_server.localrouter("builtin:demo") as server:
        progress.say("32 streams on the demo model")
        whole = _whole("broken streams, demo", [_run(server, "many32", 0)])
        held = server.memory
        assert held, server.program
        parent, worker = held
        progress.say(f"idle for {IDLE_SECONDS:g} s")
        time.sleep(1)
        assert server.program
        pids = [server.program.process.pid, *server.program.workers]
        share = 100 * cpu_share(pids, IDLE_SECONDS)
    name, limit, unit = memory
    with_worker = f"its worker holds {worker / 1e6:.0f} MB"
    return [
        whole,
        Goal(name, parent / 1e6, limit, unit, at_least=False, remark=with_worker),
        Goal(idle[0], share, idle[1], idle[2], at_least=False),
    ]


def _run(server: BenchServer, workload: str, turn: int) -> LoadFigures:
    chosen = WORKLOADS[workload]
    return load_generator.run(server.endpoint, chosen.make(SEEDS_APART * (turn + 1)), server.fields(chosen))


def _whole(name: str, runs: list[LoadFigures]) -> Goal:
    broken, streams = sum(run.broken for run in runs), sum(run.streams for run in runs)
    flaw = next((run.flaw for run in runs if run.flaw), f"of {streams}")
    return Goal(name, broken, 0, "streams", at_least=False, remark=flaw)

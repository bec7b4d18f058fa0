"""One run of `localrouter bench`: several models, each compared with its previous results."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from localrouter.bench.comparison import ComparisonPlan, compare, measure_engine, with_limits
from localrouter.bench.environment import Environment
from localrouter.bench.results import results_report
from localrouter.bench.results.results_report import ModelResults
from localrouter.bench.run_progress import RunProgress
from localrouter.bench.scratch import bench_home
from localrouter.bench.servers.bench_server import BenchServer
from localrouter.bench.servers.peer import Peer, PeerMissing, build_peer, built_folder, find_peer
from localrouter.bench.workloads import OWN, QUICK, WORKLOADS, Workload
from localrouter.gguf.header import read_headers

ENGINE_TOKENS, QUICK_ENGINE_TOKENS = 128, 32
"""Tokens per sequence where the engine is measured without a server."""


@dataclass(frozen=True)
class BenchSession:
    """Settings of a benchmark run. `workloads` are names; without any, all workloads, the engine and the limits run."""

    machine: Environment
    progress: RunProgress
    peer: Peer | BenchServer | None
    repeat: int
    workloads: Sequence[str] = ()
    threads: int | None = None
    quick: bool = False

    def measure(self, name: str, model: Path) -> ModelResults:
        """Return the results of a model, and save them for later comparisons if everything was measured.

        Raises GgufError for a file that is not a model, and ProgramFailed when a server does not become ready.
        """
        headers = read_headers(model)
        plan = ComparisonPlan(model, self._workloads(), 1 if self.quick else self.repeat, self.peer, self.threads)
        measures = compare(plan, self.machine, self.progress)
        if not self.workloads:
            tokens = QUICK_ENGINE_TOKENS if self.quick else ENGINE_TOKENS
            measures += measure_engine(plan, tokens, self.progress)
            measures = with_limits(measures, headers, self.machine, self.progress)
        last = bench_home() / "results" / f"{name}-{model.stat().st_size}{'-quick' if self.quick else ''}.json"
        results = ModelResults(
            name, plan.repeat, measures, self._peer_name(), results_report.last_medians(last, self.machine)
        )
        if not self.workloads:
            results_report.save(last, results_report.as_json(results, self.machine))
        return results

    def _workloads(self) -> list[Workload]:
        """Return the workloads to run; the one about llama-server's defaults only with a peer, or by name."""
        usual = QUICK if self.quick else [name for name in WORKLOADS if self.peer or name != OWN]
        return [WORKLOADS[name] for name in self.workloads or usual]

    def _peer_name(self) -> str | None:
        match self.peer:
            case Peer():
                return "llama-server"
            case BenchServer(name=name):
                return name
        return None


def programs(folder: Path | None, progress: RunProgress, *, build: bool, offline: bool) -> Peer | None:
    """Return llama.cpp's programs: those in `folder`, or those built now or by an earlier run.

    None when no folder is given and none were built. Raises PeerMissing.
    """
    try:
        peer = build_peer(progress, offline=offline) if build else find_peer(folder or built_folder())
    except PeerMissing:
        if build or folder:
            raise
        progress.say("no programs of llama.cpp to compare with: --build-peer builds them")
        return None
    if not peer.repack:
        progress.say("the AMX kernels of these programs crash, so they run with --no-repack; --build-peer fixes that")
    return peer

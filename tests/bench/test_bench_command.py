"""The command: what it refuses, whole small runs, and how it ends."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner, Result
from running_server import serving
from test_servers import EVENTS, server_of

from localrouter.bench import bandwidth, comparison
from localrouter.bench.load.load_generator import Endpoint
from localrouter.bench.results.measure import LIMIT, OURS, PEER, Measure
from localrouter.bench.results.results_report import ModelResults
from localrouter.bench.servers import bench_server
from localrouter.bench.servers.bench_server import BenchServer, ServerKind
from localrouter.bench.servers.processes import ProgramFailed
from localrouter.bench.session import BenchSession
from localrouter.bench.synthetic.model_shapes import SyntheticShape
from localrouter.bench.synthetic.model_writer import synthetic_model
from localrouter.cli import bench as command
from localrouter.cli import main

SMALL = SyntheticShape("qwen3", 2, 64, 2, 1, 32, 64, context=2048, vocabulary=1024)


@pytest.fixture(autouse=True)
def nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LOCALROUTER_OFFLINE", raising=False)
    monkeypatch.setattr(command, "SHAPES", {"qwen3-tiny": SMALL})
    monkeypatch.setattr(bandwidth, "_enough", lambda _: 1 << 20)
    monkeypatch.setattr(comparison, "settle", lambda: None)


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["bench", *map(str, words)])


def test_a_short_run_of_ours_alone(tmp_path: Path) -> None:
    done = run("--quick", "--threads", "1", "--json", tmp_path / "out.json", "--markdown", tmp_path / "new" / "out.md")

    assert done.exit_code == 0, done.stderr
    [results] = json.loads((tmp_path / "out.json").read_text())
    measures = {row["name"]: row for row in results["measures"]}
    assert list(measures) == ["single", "many32", "memory", "engine", "engine32", "bandwidth"]
    assert all(row["median"][OURS] > 0 for name, row in measures.items() if name != "bandwidth")
    assert measures["bandwidth"]["median"][LIMIT] > 0
    assert (results["model"], results["peer"], results["repeat"]) == ("qwen3-tiny", None, 1)
    assert "many32 1/1 on localrouter" in done.stderr
    assert "│ many32 " in done.stdout
    assert "| many32 | throughput of 32 concurrent streams" in (tmp_path / "new" / "out.md").read_text()
    [kept] = (tmp_path / "cache" / "localrouter" / "bench" / "results").iterdir()
    assert json.loads(kept.read_text()) | {"when": results["when"]} == results, "each says when it was written"


@pytest.mark.slow
def test_another_server_of_this_machine_is_a_peer(tmp_path: Path) -> None:
    model = synthetic_model("small", SMALL)
    with serving("--model", f"twin={model}", "--threads", "1") as twin:
        words = ("--model", model, "--workload", "many32-top-p", "--repeat", "1", "--threads", "1")
        done = run(*words, "--peer", twin.base_url, "--peer-model", "twin", "--json", tmp_path / "out.json")

    assert done.exit_code == 0, done.stderr
    [results] = json.loads((tmp_path / "out.json").read_text())
    [many, memory] = results["measures"]
    assert set(many["median"]) == {OURS, PEER}
    assert (many["flaws"], set(memory["median"])) == ([], {OURS})
    assert results["peer"] == twin.base_url.removeprefix("http://").removesuffix("/v1")
    assert "is valid only if twin at" in done.stderr
    assert "ratio" in done.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--shape", "none"), "'none' is not one of"),
        (("--workload", "none"), "'none' is not one of"),
        (("--repeat", "0"), "0 is not in the range"),
        (("--model", "nowhere.gguf"), "does not exist"),
        (("--peer-bin", ".", "--build-peer"), "--peer-bin and --build-peer exclude each other"),
        (("--peer", "http://127.0.0.1:1", "--peer-bin", "."), "--peer and --peer-bin exclude each other"),
        (("--shape", "qwen3-tiny", "--model", __file__), "--shape and --model exclude each other"),
        (("--peer-model", "a"), "--peer-model selects a model of the server at --peer"),
        (("--peer", "http://192.0.2.1/v1"), "only load servers of this machine"),
        (("--peer-bin", "."), "llama-server, llama-bench, llama-batched-bench is not there"),
        (("--model", __file__), "is not a usable GGUF file"),
    ],
)
def test_what_cannot_be_done_is_refused(words: tuple[str, ...], told: str) -> None:
    done = run(*words)

    assert done.exit_code == 2
    assert told in " ".join(done.stderr.replace("│", " ").split())


def test_a_broken_stream_of_ours_is_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def broken(*_: object, **__: object) -> Iterator[BenchServer]:
        with server_of("a", events=EVENTS[:-14]) as url:
            yield BenchServer("localrouter", ServerKind.OURS, Endpoint(f"{url}/v1", "a"))

    monkeypatch.setattr(bench_server, "localrouter", broken)
    done = run("--workload", "batch8", "--repeat", "1")

    assert done.exit_code == 1
    assert "broken: localrouter, 8 of 8 streams: 0 times [DONE]" in done.stderr


@pytest.mark.parametrize(("end", "status"), [(KeyboardInterrupt(), 130), (ProgramFailed("it is gone"), 2)])
def test_what_was_measured_before_the_end_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: BaseException, status: int
) -> None:
    ends = iter([None, end])

    def measure(_: BenchSession, name: str, __: Path) -> ModelResults:
        if ends_now := next(ends):
            raise ends_now
        return ModelResults(name, 1, [Measure("single", "rate", samples={OURS: [1.0]})])

    monkeypatch.setattr(command, "SHAPES", {"qwen3-tiny": SMALL, "qwen3-0.6b": SMALL})
    monkeypatch.setattr(BenchSession, "measure", measure)
    done = run("--shape", "qwen3-tiny", "--shape", "qwen3-0.6b", "--json", tmp_path / "a", "--markdown", tmp_path / "b")

    assert done.exit_code == status
    assert [results["model"] for results in json.loads((tmp_path / "a").read_text())] == ["qwen3-tiny"]
    assert "qwen3-tiny; one run each" in (tmp_path / "b").read_text()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_servers_too(number: int) -> None:
    words = ("--model", synthetic_model("small", SMALL), "--workload", "stall", "--repeat", "1000", "--threads", "1")
    with subprocess.Popen(
        [sys.executable, "-m", "localrouter", "bench", *words], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert any("stall 1/1000 on localrouter" in line for line in process.stderr)
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        assert process.wait(30) == 130

    _, alive = psutil.wait_procs(started, timeout=10)
    assert len(started) >= 2  # the server and its worker
    assert alive == []

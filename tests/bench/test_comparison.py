"""What becomes a row, and which rows have a limit."""

import os
import sys
from pathlib import Path

import pytest

from localrouter.bench import bandwidth, comparison
from localrouter.bench.comparison import with_limits
from localrouter.bench.environment import Environment
from localrouter.bench.load import load_generator
from localrouter.bench.load.figures import LoadFigures, StreamTimes
from localrouter.bench.load.load_generator import Endpoint
from localrouter.bench.results.measure import LIMIT, OURS, PEER, Measure
from localrouter.bench.run_progress import RunProgress
from localrouter.bench.servers.bench_server import BenchServer, ServerKind
from localrouter.bench.servers.peer import Peer
from localrouter.bench.servers.processes import running
from localrouter.bench.session import BenchSession
from localrouter.bench.workloads import OPENAI, WORKLOADS, Dialogue, Fields

MACHINE = Environment("cpu", 2, 1 << 34, "Linux x86_64", "3.11", 0.0)
SERVERS = {
    OURS: BenchServer("localrouter", ServerKind.OURS, Endpoint("http://127.0.0.1:1/v1", "a")),
    PEER: BenchServer("other", ServerKind.LLAMA, Endpoint("http://127.0.0.1:2/v1", "a")),
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Fields]]:
    """Who was asked how, in order; every answer is the same whole one, the peer's a broken one."""
    calls = list[tuple[str, Fields]]()

    def run(endpoint: Endpoint, conversations: list[Dialogue], fields: Fields) -> LoadFigures:
        calls.append((endpoint.base_url[-4], fields))
        done = 1 if endpoint is SERVERS[OURS].endpoint else 0
        stream = StreamTimes(0.0, 2, 1, ["a", "b"], [1.0, 3.0], ["length"], 2, done)
        return LoadFigures.of([stream] * len(conversations), wall=4.0)

    monkeypatch.setattr(load_generator, "run", run)
    monkeypatch.setattr(comparison, "settle", lambda: calls.append(("settled", {})))
    return calls


def test_every_figure_is_a_row_and_flaws_are_told_once(asked: list[tuple[str, Fields]]) -> None:
    stall, wall = comparison._measure(WORKLOADS["stall"], SERVERS, 2, RunProgress())

    assert (stall.samples[OURS], wall.samples[OURS]) == ([2000.0, 2000.0], [4.0, 4.0])
    assert not stall.higher_is_better
    assert stall.flaws == ["peer, 2 of 2 streams: 0 times [DONE]"] * 2
    assert (len(stall.details), wall.details, wall.flaws) == (4, [], [])
    assert [program for program, _ in asked if program != "settled"] == ["1", "2", "2", "1"]  # in turns
    assert [program for program, _ in asked[1::2]] == ["settled"] * 4  # none computes while the other is measured


def test_a_run_with_a_broken_stream_gives_no_figure(asked: list[tuple[str, Fields]]) -> None:
    """Who answers nothing is ready at once, and would be the fastest."""
    measures = comparison._measure(WORKLOADS["stall"], SERVERS, 2, RunProgress())

    assert asked
    assert [set(measure.samples) for measure in measures] == [{OURS}, {OURS}]


def test_a_server_that_is_gone_holds_no_memory_that_could_be_compared() -> None:
    with running([sys.executable, "-c", "print('here')"], os.environ) as program:
        program.process.wait()
        gone = BenchServer("other", ServerKind.LLAMA, SERVERS[PEER].endpoint, program)

        assert comparison._memory({PEER: gone}).samples == {}


def test_servers_sample_as_the_workload_says(asked: list[tuple[str, Fields]]) -> None:
    comparison._measure(WORKLOADS["many32-own"], SERVERS, 1, RunProgress())

    assert [call for call in asked if call[0] != "settled"] == [("1", OPENAI), ("2", {})]


def test_what_did_not_happen_is_no_sample(asked: list[tuple[str, Fields]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_generator, "run", lambda *_: LoadFigures.of([], wall=1.0))
    [long] = comparison._measure(WORKLOADS["long"], SERVERS, 1, RunProgress())

    assert (long.samples, asked) == ({}, [("settled", {})] * 2)


@pytest.mark.parametrize(("binding", "limit"), [(True, 50.0), (False, None)])
def test_rates_have_the_limits_that_are_known(
    monkeypatch: pytest.MonkeyPatch, binding: bool, limit: float | None
) -> None:
    roof = Measure("bandwidth", "", samples={LIMIT: [50.0]})
    monkeypatch.setattr(bandwidth, "limit_of", lambda _headers, _cores: (roof, binding))
    rate, first = Measure("single", "rate"), Measure("single", "first token", higher_is_better=False)
    many = Measure("many32-top-p", "rate")
    engine = Measure("engine32", "", samples={LIMIT: [70.0, 90.0, 80.0]})

    measures = with_limits([rate, first, many, engine], [], MACHINE, RunProgress())

    assert measures[-1] is roof
    assert (rate.median(LIMIT), first.median(LIMIT), many.median(LIMIT)) == (limit, None, 80.0)


def test_memory_of_the_cpu_is_no_limit_where_gpus_compute() -> None:
    gpu = Environment("cpu", 2, 1 << 34, "Linux x86_64", "3.11", 0.0, ("a GPU",))

    assert with_limits([], [], gpu, RunProgress()) == []


@pytest.mark.parametrize(
    ("peer", "quick", "asked_for", "names"),
    [
        (None, False, (), [name for name in WORKLOADS if name != "many32-own"]),
        (Peer(Path(), repack=True), False, (), [*WORKLOADS]),
        (SERVERS[PEER], True, (), ["single", "many32"]),
        (None, True, ("many32-own",), ["many32-own"]),
    ],
)
def test_which_workloads_run(
    peer: Peer | BenchServer | None, quick: bool, asked_for: tuple[str, ...], names: list[str]
) -> None:
    session = BenchSession(MACHINE, RunProgress(), peer, 1, asked_for, quick=quick)

    assert [workload.name for workload in session._workloads()] == names

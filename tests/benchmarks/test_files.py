"""What large files are measured with: the file, the peak of a command, the hub, and what becomes a goal."""

import json
import sys
import urllib.request
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import big_file as files
from benchmarks.big_file import big_file, write_big_file
from benchmarks.command import kill, run, started
from benchmarks.files import BEYOND, MEMORY, SECONDS, SERVED, Measures, goals_of
from benchmarks.hub import REPO, loopback_hub
from benchmarks.workplace import workplace
from localrouter.bench.results.measure import OURS
from localrouter.bench.servers.processes import ProgramFailed
from localrouter.gguf.header import read_header

MB = 1_000_000
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
IDLE = [sys.executable, "-I", "-S", "-c", "pass"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results")
    return tmp_path / "cache" / "localrouter" / "bench"


def test_the_file_is_a_whole_gguf_of_several_tensors_and_the_same_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "TENSOR", 3000)
    paths = [tmp_path / name for name in ("one.gguf", "two.gguf")]
    for path in paths:
        write_big_file(path, 10_000)

    header = read_header(paths[0])
    assert [tensor.shape for tensor in header.tensors] == [(3000,), (3000,), (3000,), (1000,)]
    assert header.data_end <= paths[0].stat().st_size < header.data_end + 32
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_file_is_kept_and_another_size_is_another_file() -> None:
    written = big_file(1000).stat().st_mtime_ns

    assert big_file(1000).stat().st_mtime_ns == written
    assert big_file(1000) != big_file(2000)


def test_a_peak_is_the_commands_own_and_not_that_of_who_starts_it(tmp_path: Path) -> None:
    held = b"\1" * (200 * MB)

    small = run(IDLE, {}, tmp_path)
    large = run([*IDLE[:-1], f"b'1' * {300 * MB}"], {}, tmp_path)

    assert len(held) > 2 * small.peak
    assert large.peak > 300 * MB
    assert small.seconds > 0


def test_a_command_that_fails_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(ProgramFailed, match=r"status 3:\n(?s:.*)no such thing"):
        run([*IDLE[:-1], "import sys; print('no such thing'); sys.exit(3)"], {}, tmp_path)


def test_a_killed_command_ends_and_a_dead_one_cannot_be_killed(tmp_path: Path) -> None:
    forever = [*IDLE[:-1], "import time; print('here', flush=True); time.sleep(60)"]
    with started(forever, {}, tmp_path) as program:
        while "here" not in program.text:
            program.check()
        kill(program)

        assert json.loads((tmp_path / "command.json").read_text())["status"] == -9
        with pytest.raises(ProgramFailed):
            kill(program)


def test_the_hub_counts_what_it_serves_and_goes_when_we_do(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"x" * 5000)
    with loopback_hub(tmp_path / "a.gguf") as hub:
        before = hub.served()
        with OPENER.open(f"{hub.endpoint}/{REPO}/resolve/{hub.commit}/a.gguf") as answer:
            assert len(answer.read()) == 5000
        assert (before, hub.served()) == (0, 5000)

    assert hub.process.returncode is not None


def test_ctrl_c_leaves_nothing_but_the_file(cache: Path) -> None:
    model = big_file(1000)

    def interrupted() -> None:
        with workplace(model) as place:
            assert place.file.samefile(model)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [*cache.iterdir()] == [model]


def measured(ours: list[float], peer: list[float]) -> Measures:
    measures = Measures()
    for mine, theirs in zip(ours, peer, strict=True):
        measures.add("verify", SECONDS, mine)
        measures.add("verify", SECONDS, theirs, "sha256sum")
    return measures


@pytest.mark.parametrize(("seconds", "met"), [(1.0, True), (1.25, True), (1.3, False)])
def test_the_median_speed_has_to_be_near_that_of_the_tool(seconds: float, met: bool) -> None:
    [goal] = goals_of([*measured([9.0, seconds, 0.1], [1.0, 0.1, 5.0]).found.values()])

    assert goal.is_met is met
    assert goal.name == "verify: speed against sha256sum"
    assert goal.remark == f"{seconds:.2f} s against 1.00 s"


def test_other_tools_are_told_and_no_goal() -> None:
    measures = measured([1.0], [1.0])
    measures.add("verify", SECONDS, 0.5, "cat")

    [goal] = goals_of([*measures.found.values()])
    assert goal.remark == "1.00 s against 1.00 s; cat: 0.50 s"


@pytest.mark.parametrize(("meaning", "limit"), [(MEMORY, 150.0), (BEYOND, 1.0)])
def test_of_memory_and_traffic_the_worst_run_counts(meaning: str, limit: float) -> None:
    measures = Measures()
    for value in (limit / 2, limit + 0.1, limit / 3):
        measures.add("pull", meaning, value)
        measures.add("pull", SECONDS if meaning == MEMORY else SERVED, 1.0)

    [goal] = goals_of([*measures.found.values()])
    assert (goal.value, goal.limit, goal.is_met) == (limit + 0.1, limit, False)


def test_bytes_beyond_the_file_are_counted_in_mib() -> None:
    measures = Measures()
    measures.add_served("pull", 2 * MB + (3 << 20), 2 * MB)

    assert measures.found["pull", BEYOND].samples == {OURS: [3.0]}


@pytest.mark.slow
def test_everything_is_measured_and_the_disk_is_left_as_it_was(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = command.main(["files", "--size", "1", "--repeat", "2"])

    results = json.loads((tmp_path / "results" / "files-1mb.json").read_text())
    missed = {goal["name"] for goal in results["goals"] if not goal["is_met"]}
    assert len(results["goals"]) == 12
    assert all("speed" in name for name in missed)  # a start of Python is slower than hashing a megabyte
    assert status == (1 if missed else 0)
    assert "bundle import" in capsys.readouterr().out
    assert [file.name for file in cache.iterdir()] == ["file-1-1000000.gguf"]


def test_without_the_tools_there_is_nothing_to_compare_with(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert command.main(["files", "--size", "1"]) == 2
    assert "sha256sum" in capsys.readouterr().err

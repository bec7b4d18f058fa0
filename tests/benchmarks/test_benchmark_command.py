"""The command: what it does with options that cannot work, and a whole small run."""

import json
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import report
from benchmarks.measure import OURS
from benchmarks.shapes import Shape


@pytest.fixture(autouse=True)
def nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    small = Shape("qwen3", 2, 64, 2, 1, 32, 64, context=2048, vocabulary=1024)
    monkeypatch.setattr(command, "SHAPES", {"qwen3-tiny": small})


def test_one_workload_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--workload", "batch8", "--repeat", "2", "--threads", "1", "--json", str(tmp_path / "out.json")]

    assert command.main(arguments) == 0

    [batch8, memory] = json.loads((tmp_path / "out.json").read_text())["measures"]
    assert (batch8["name"], len(batch8["samples"][OURS]), batch8["flaws"]) == ("batch8", 2, [])
    assert memory["median"][OURS] > 1
    shown = capsys.readouterr()
    assert "batch8" in shown.out
    assert "batch8 2/2 on localrouter" in shown.err


def test_a_folder_without_the_programs_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--peer-bin", str(tmp_path)]) == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--workload", "none"], ["--repeat", "0"], ["--peer-bin", "a", "--build-peer"]])
def test_options_that_cannot_be(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)

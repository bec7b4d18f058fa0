"""`python -m benchmarks`: what it tells of the sampler, and what it refuses."""

import json
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks.sampler import KINDS
from localrouter.bench.results.measure import OURS


@pytest.fixture(autouse=True)
def nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results")


def test_every_kind_of_draw_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["sampler", "--json", str(tmp_path / "out.json")]) == 0

    rows = json.loads((tmp_path / "out.json").read_text())["measures"]
    assert [row["meaning"].removesuffix(", microseconds for one token") for row in rows] == [*KINDS]
    assert all(row["median"][OURS] > 0 for row in rows)
    assert "151936" in capsys.readouterr().out


def test_a_folder_without_the_programs_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--peer-bin", str(tmp_path)]) == 2
    assert "hint: --build-peer builds all of them" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["compare"], ["--repeat", "0"], ["--peer-bin", "a", "--build-peer"]])
def test_options_that_cannot_be(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)

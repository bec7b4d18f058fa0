"""The machine as it is told."""

import subprocess
from pathlib import Path

import psutil
import pytest

import localrouter
from localrouter.bench import environment
from localrouter.bench.environment import Environment, source


def test_this_machine_is_described() -> None:
    found = Environment.this()

    assert found.cores == len(psutil.Process().cpu_affinity() or [])
    assert found.memory <= psutil.virtual_memory().total
    assert 0 <= found.busy <= 1


def test_one_line_tells_what_figures_depend_on() -> None:
    told = str(Environment("cpu", 1, 3 << 30, "Linux x86_64", "3.11.7", 0.0, ("NVIDIA X",)))

    assert told.startswith("cpu, 1 core, 3 GiB, NVIDIA X, Linux x86_64, Python 3.11.7, llama-cpp-python ")


def test_a_checkout_is_named_by_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localrouter, "__file__", str(tmp_path / "localrouter" / "__init__.py"))
    assert source() == f"version {localrouter.__version__}"

    (tmp_path / "pyproject.toml").write_text("")
    commit = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one"]
    for command in (["init", "-q"], ["add", "."], commit):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    number = subprocess.check_output(["git", "-C", str(tmp_path), "rev-parse", "--short=8", "HEAD"], text=True).strip()
    assert source() == f"commit {number}"

    (tmp_path / "pyproject.toml").write_text("changed")
    assert source() == f"commit {number} with changes"


def test_the_share_of_others_is_what_was_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([(100, 200), (150, 400)])
    monkeypatch.setattr(environment, "_jiffies", lambda: next(looks))
    monkeypatch.setattr(environment, "_SECONDS", 0.0)

    assert environment._busy() == 0.75

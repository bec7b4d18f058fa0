"""The probe: kernels that end their process end only the probe's."""

import subprocess
import sys
from pathlib import Path

import pytest

from localrouter.engine.backends.llama import amx_probe


@pytest.fixture(autouse=True)
def _no_earlier_probe() -> None:
    amx_probe.amx_works.cache_clear()


@pytest.mark.parametrize(("code", "works"), [("pass", True), ("import os; os.kill(os.getpid(), 11)", False)])
def test_a_crash_is_a_no(code: str, works: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = tmp_path / "python"
    stand_in.write_text(f"#!{sys.executable}\n{code}\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stand_in))

    assert amx_probe.amx_works() is works


def test_the_kernels_are_probed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = amx_probe.amx_works()
    monkeypatch.setattr(subprocess, "run", pytest.fail)

    assert amx_probe.amx_works() is answer

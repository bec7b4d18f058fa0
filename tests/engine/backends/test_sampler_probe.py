"""Probe of sampling on a GPU: right samplers pass it, wrong tokens and dead processes do not. Here on the CPU."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localrouter.engine.backends.llama import sampler_probe
from localrouter.engine.backends.llama.sampler_probe import SamplerProbe, WrongSample, device_sampling_works


@pytest.fixture
def probe() -> Iterator[SamplerProbe]:
    probe = SamplerProbe("", 2051)
    yield probe
    probe.close()


def test_llama_on_a_cpu_passes(probe: SamplerProbe) -> None:
    probe.run()


@pytest.mark.parametrize("token", [-1, 2051, None])
def test_a_token_that_cannot_be_is_noticed(
    probe: SamplerProbe, token: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe._chains, "token", lambda output: token)
    with pytest.raises(WrongSample, match=r"sampled|not in the vocabulary"):
        probe.run()


def test_a_token_that_is_not_likely_enough_is_noticed(probe: SamplerProbe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe._chains, "token", lambda output: 5)
    with pytest.raises(WrongSample, match="likeliest"):
        probe.run()


def python(folder: Path, script: str) -> str:
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("script", "works"), [("exit 0", True), ("echo wrong >&2; exit 1", False), ("kill -SEGV $$", False)]
)
def test_the_exit_status_of_the_process_decides(
    tmp_path: Path, script: str, works: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", python(tmp_path, script))
    assert device_sampling_works(f"{tmp_path}", 300) is works


def test_a_process_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", python(tmp_path, "exec sleep 60"))
    monkeypatch.setattr(sampler_probe, "PATIENCE", 0.2)
    assert not device_sampling_works(f"{tmp_path}", 300)


def test_an_unknown_device_fails_in_words() -> None:
    command = [sys.executable, "-m", "localrouter.engine.backends.llama.sampler_probe", "Nothing7", "300"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "'Nothing7' is not on this machine" in done.stderr

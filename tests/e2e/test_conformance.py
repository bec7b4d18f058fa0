"""`localrouter conformance` against our own server: every promise of the reference, with every family of models."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from noise_models import NOISE, write_noise
from real_vocabularies import needs_samples
from running_server import RunningServer, serving

from localrouter.cli import main
from localrouter.conformance.exemptions import EXEMPTIONS


@contextmanager
def noise(folder: Path, family: str) -> Iterator[RunningServer]:
    """Serve a model of noise under the name `noise`; afterwards its file is gone."""
    path = write_noise(folder, family, width=64)
    try:
        with serving("--model", f"noise={path}", "--threads", "1") as running:
            yield running
    finally:
        path.unlink()


def others(server: RunningServer, model: str, file: Path, *outcomes: str) -> list[Any]:
    """Return the checks that end in another way."""
    result = CliRunner().invoke(
        main, ["conformance", server.base_url, "--model", model, "--api-key", "local", "--json", str(file)]
    )
    assert file.exists(), result.output
    checks = json.loads(file.read_text())["checks"]
    return [(check["outcome"], check["name"], check["reason"]) for check in checks if check["outcome"] not in outcomes]


@pytest.mark.slow
def test_demo_keeps_every_promise(server: RunningServer, tmp_path: Path) -> None:
    found = others(server, "demo", tmp_path / "results.json", "passed")
    exempt = {name for outcome, name, _ in found if outcome == "exempt"}
    undecided = [each for each in found if each[0] == "undecided"]

    assert exempt == EXEMPTIONS.keys()
    assert [each for each in found if each[0] not in ("exempt", "undecided")] == []
    assert len(undecided) <= 3, "what demo happens to say seldom leaves a question open"


@needs_samples
@pytest.mark.slow
@pytest.mark.parametrize("family", NOISE)
def test_a_model_of_noise_breaks_no_promise(family: str, tmp_path: Path) -> None:
    with noise(tmp_path, family) as running:
        assert others(running, "noise", tmp_path / "results.json", "passed", "undecided", "exempt") == []

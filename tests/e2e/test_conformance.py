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


EXEMPT = {
    "a schema without a name is rejected": "clients that drop the name are answered; it has no effect",
    "an illegal name is rejected": "MCP servers have names with dots, slashes and spaces",
    "a name of 65 characters is rejected": "MCP servers have longer names",
}
"""Rejections of the reference that localrouter does without, each with the reason; other servers are checked."""


def test_demo_keeps_every_promise(server: RunningServer, tmp_path: Path) -> None:
    every = others(server, "demo", tmp_path / "results.json", "passed")
    found = [each for each in every if each[1] not in EXEMPT]

    assert {name for _, name, _ in every} >= EXEMPT.keys()
    assert [each for each in found if each[0] != "undecided"] == []
    assert len(found) <= 3, "what demo happens to say seldom leaves a question open"


@needs_samples
@pytest.mark.slow
@pytest.mark.parametrize("family", NOISE)
def test_a_model_of_noise_breaks_no_promise(family: str, tmp_path: Path) -> None:
    with noise(tmp_path, family) as running:
        found = others(running, "noise", tmp_path / "results.json", "passed", "undecided")
        assert [each for each in found if each[1] not in EXEMPT] == []

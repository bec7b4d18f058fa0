"""Log-likelihoods through HTTP are those that llama.cpp computes for the same tokens in one evaluation."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from likelihoods import EXACT, TOLERANCE, computed, continuations, largest_difference, reported
from noise_models import NOISE, write_noise
from running_server import RunningServer, serving


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("noise")
    return {family: write_noise(folder, family, width=64) for family in NOISE}


@pytest.fixture(scope="module")
def noise_server(paths: dict[str, Path]) -> Iterator[RunningServer]:
    models = [word for family, path in paths.items() for word in ("--model", f"{family}={path}")]
    with serving(*models, *EXACT, "--context", "1024", "--max-loaded", "1") as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("family", NOISE)
def test_they_are_those_of_llama_cpp(family: str, paths: dict[str, Path], noise_server: RunningServer) -> None:
    documents = continuations(noise_server, family)

    found = reported(noise_server, family, documents)

    assert largest_difference(found, computed(str(paths[family]), documents)) <= TOLERANCE

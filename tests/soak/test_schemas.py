"""Structured output on an engine with llama.cpp: outputs that the model ended are valid for their schemas."""

from pathlib import Path

import pytest

from .schemas import MODELS, random_schemas, run, sdk_schemas, write


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_outputs_are_valid_for_some_schemas(model: str, tmp_path: Path) -> None:
    tally = run(write(tmp_path, model), MODELS[model], random_schemas(30, seed=7) | sdk_schemas(), seed=7)

    assert (tally.invalid, tally.failed) == ([], [])
    assert tally.ended > 50  # of 84


@pytest.mark.soak
@pytest.mark.parametrize("model", MODELS)
def test_outputs_are_valid_for_five_hundred_schemas(model: str, tmp_path: Path) -> None:
    tally = run(write(tmp_path, model), MODELS[model], random_schemas(500, seed=0) | sdk_schemas(), seed=0)

    assert (tally.invalid, tally.failed) == ([], [])
    assert tally.ended > 350  # of 554

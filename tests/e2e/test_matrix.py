"""Thoughts x schema x tools x n x stream on every family: counted, ended and read as the contract says."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from loaded_model import LoadedModel, loaded
from matrix import CELLS, Cell, check, comparable, folded
from noise_models import NOISE, write_noise
from real_vocabularies import needs_samples
from running_server import PATIENCE, RunningServer, serving

import localrouter
from localrouter.chat.families.detection import family_of
from localrouter.chat.families.gemma import GEMMA4
from localrouter.chat.families.qwen import QWEN3, QWEN3_CODER

DEMO = Path(localrouter.__file__).parent / "assets" / "demo.gguf"
FAMILIES = {"demo": QWEN3, "qwen3": QWEN3, "qwen35moe": QWEN3_CODER, "gemma4": GEMMA4}
"""What each model writes around thoughts and calls."""
OPENED = {"demo", "qwen35moe"}
"""Models whose template begins the thought; the others do it themselves."""
FAST = {"demo", "gemma4"}
"""Models of `make test`, one of each kind of KV cache that is not recurrent; the others are in the slow tier."""


def _marked(name: str) -> Any:
    return pytest.param(name, marks=[needs_samples, *([] if name in FAST else [pytest.mark.slow])])


every_model = pytest.mark.parametrize("model", ["demo", *map(_marked, NOISE)], indirect=True, scope="module")
in_one_loop = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LoadedModel]:
    name = request.param
    path = DEMO if name == "demo" else write_noise(tmp_path_factory.mktemp(name), name, width=64)
    model = await loaded(name, path)
    assert family_of(model.engine.info) is FAMILIES[name]
    yield model
    await model.close()


@every_model
@in_one_loop
@pytest.mark.parametrize("cell", CELLS, ids=str)
async def test_a_cell_of_the_matrix(model: LoadedModel, cell: Cell) -> None:
    family = FAMILIES[model.name]
    is_open = cell.thinks and model.name in OPENED
    plain, streamed = await model.answers(cell.body(family, model.engine.info.special_tokens, is_open=is_open))

    check(plain, cell, family)
    if is_open:
        assert plain["usage"]["completion_tokens_details"]["reasoning_tokens"] >= cell.n
    assert comparable(streamed) == comparable(plain)


@pytest.fixture(scope="module")
def demo() -> Iterator[RunningServer]:
    # Several threads would wait for each other on a busy machine. With flash attention a prompt that is cut elsewhere
    # comes out a little otherwise, and between words that are as good that decides.
    with serving("--threads", "1", "--flash-attention", "off") as running:
        yield running


@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell.n == 2], ids=str)
def test_a_server_says_the_same_streamed_or_not(demo: RunningServer, cell: Cell) -> None:
    body = cell.body(QWEN3, {}) | {"model": "demo", "temperature": 0}
    url = f"{demo.base_url}/chat/completions"

    plain = httpx.post(url, json=body, timeout=PATIENCE).raise_for_status().json()
    options = {"stream": True, "stream_options": {"include_usage": True}}
    with httpx.stream("POST", url, json=body | options, timeout=PATIENCE) as response:
        *events, done = [line.removeprefix("data: ") for line in response.iter_lines() if line]

    check(plain, cell, QWEN3)
    assert done == "[DONE]"
    assert comparable(folded(map(json.loads, events))) == comparable(plain)

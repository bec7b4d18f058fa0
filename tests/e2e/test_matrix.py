"""Thoughts x schema x tools x n x stream on every family: counted, ended and read as the contract says."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from matrix import CELLS, Cell, Json, check, folded, comparable
from noise_models import NOISE, write_noise
from real_vocabularies import needs_shared
from running_server import RunningServer, serving

import localrouter
from localrouter.chat.completion import Completion
from localrouter.chat.families.detection import family_of
from localrouter.chat.families.family import Family
from localrouter.chat.families.gemma import GEMMA4
from localrouter.chat.families.qwen import QWEN3, QWEN3_CODER
from localrouter.chat.fold import fold
from localrouter.chat.renderer import RendererPool
from localrouter.engine.client import EngineClient
from localrouter.engine.messages import Load, LoadOptions
from localrouter.engine.process import WorkerProcess
from localrouter.schema.chat import ChatRequest

DEMO = Path(localrouter.__file__).parent / "assets" / "demo.gguf"
FAMILIES = {"demo": QWEN3, "qwen3": QWEN3, "qwen35moe": QWEN3_CODER, "gemma4": GEMMA4}
"""What each model writes around thoughts and calls."""
every_model = pytest.mark.parametrize(
    "model", ["demo", *(pytest.param(name, marks=needs_shared) for name in NOISE)], indirect=True, scope="module"
)
in_one_loop = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Model:
    """A worker with a model loaded, and what renders its prompts."""

    family: Family
    engine: EngineClient
    renderer: RendererPool

    async def ask(self, body: Json) -> Json:
        """Return the plain answer."""
        completion = await self._begin(body)
        answer: Json = msgspec.to_builtins(await fold(completion.chunks()))
        return answer

    async def stream(self, body: Json) -> Json:
        """Return what the streamed answer adds up to."""
        options = {"stream": True, "stream_options": {"include_usage": True}}
        completion = await self._begin(body | options)
        chunks = [msgspec.to_builtins(chunk) async for look in completion.chunks() for chunk in look]
        return folded(chunks)

    async def _begin(self, body: Json) -> Completion:
        request = ChatRequest.model_validate(body)
        return await Completion.begin(self.engine, request, self.renderer)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Model]:
    name = request.param
    path = DEMO if name == "demo" else write_noise(tmp_path_factory.mktemp(name), name, width=64)
    options = LoadOptions(threads=1, context=4096, max_sequences=4)
    worker = await WorkerProcess.start(Load(str(path), options=options), timeout=60)
    engine, renderer = EngineClient(name, worker, max_queue=4), RendererPool()
    assert family_of(engine.info) is FAMILIES[name]
    yield Model(FAMILIES[name], engine, renderer)
    await renderer.close()
    await engine.close()


@every_model
@in_one_loop
@pytest.mark.parametrize("cell", CELLS, ids=str)
async def test_a_cell_of_the_matrix(model: Model, cell: Cell) -> None:
    body = cell.body(model.family, model.engine.info.marks)

    streamed, plain = await model.stream(body), await model.ask(body)

    check(plain, cell, model.family)
    assert comparable(streamed) == comparable(plain)

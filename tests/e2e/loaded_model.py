"""A model in a worker of its own, asked without a server."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
from matrix import Json, folded

from localrouter.chat.prompt.renderer_pool import RendererPool
from localrouter.chat.response.chat_completion import Completion
from localrouter.chat.response.fold import fold
from localrouter.engine.ipc.client import EngineClient
from localrouter.engine.ipc.process import WorkerProcess
from localrouter.engine.messages import Load
from localrouter.load_options import LoadOptions
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.chat_response import ChatCompletionChunk


@dataclass(frozen=True)
class LoadedModel:
    """A worker with a model loaded, and what renders its prompts."""

    name: str
    engine: EngineClient
    renderer: RendererPool

    async def answers(self, body: Json) -> tuple[Json, Json]:
        """Return the plain answer, and what the streamed one adds up to; both of the same tokens.

        Asked twice noise would say two things: of its near-equal odds the last digits decide, and these depend on how
        steps are cut.
        """
        request = ChatRequest.model_validate(body | {"stream": True, "stream_options": {"include_usage": True}})
        completion = await Completion.begin(self.engine, request, self.renderer)
        looks = [look async for look in completion.chunks()]
        plain = msgspec.to_builtins(await fold(_again(looks)))
        return plain, folded(msgspec.to_builtins(chunk) for look in looks for chunk in look)

    async def close(self) -> None:
        """End the worker and the processes of the renderer."""
        await self.renderer.close()
        await self.engine.close()


async def loaded(name: str, path: Path, chat_template: str | None = None) -> LoadedModel:
    """Load a model; `chat_template` stands in place of the file's own."""
    load = Load(str(path), options=LoadOptions(threads=1, context=4096, max_sequences=4), chat_template=chat_template)
    worker = await WorkerProcess.start(load, timeout=60)
    return LoadedModel(name, EngineClient(name, worker, max_queue=4), RendererPool())


async def _again(looks: list[list[ChatCompletionChunk]]) -> AsyncIterator[list[ChatCompletionChunk]]:
    for look in looks:
        yield look

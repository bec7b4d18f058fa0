"""A server inside the test's own event loop: after clients that leave, no task of theirs is left."""

import asyncio
import random
from contextlib import suppress

import httpx

from localrouter.api.app import create_app
from localrouter.api.server import GracefulServer, base_url, bind
from localrouter.chat.prompt.renderer_pool import RendererPool
from localrouter.config import Settings
from localrouter.router.router import Router
from localrouter.weights.catalog import Catalog


async def leave(client: httpx.AsyncClient, url: str, source: random.Random) -> None:
    """Ask and hang up after a random number of lines, or of milliseconds."""
    body = {
        "model": "echo",
        "messages": [{"role": "user", "content": "word " * 100}],
        "stream": source.random() < 0.7,
    }
    with suppress(TimeoutError):
        async with asyncio.timeout(source.random() / 2), client.stream("POST", url, json=body) as response:
            lines = response.aiter_lines()
            for _ in range(source.randint(0, 20)):
                await anext(lines, None)


async def test_no_task_is_left_of_clients_that_have_left() -> None:
    settings = Settings(port=0, grace=0)
    catalog = Catalog.read(None, {"echo": "builtin:echo?step_ms=2"})
    router = Router(catalog, settings)
    listener = bind(settings.host, settings.port)
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()

    def tell() -> None:
        loop.call_soon_threadsafe(ready.set)

    app = create_app(router, catalog, settings, RendererPool())
    server = GracefulServer(app, settings, tell)
    serving = asyncio.create_task(server.serve([listener]))
    await ready.wait()
    engine = await router.engine("echo")
    before = asyncio.all_tasks()

    source = random.Random(3)
    async with httpx.AsyncClient(limits=httpx.Limits(max_keepalive_connections=0)) as client:
        url = f"{base_url(listener)}/chat/completions"
        await asyncio.gather(*(leave(client, url, source) for _ in range(200)))
    async with asyncio.timeout(30):
        while asyncio.all_tasks() != before or engine.in_flight:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # the server's own clean-up offers no event

    assert engine.gauge.cells_used == engine.gauge.running == engine.gauge.waiting == 0
    server.should_exit = True
    await serving

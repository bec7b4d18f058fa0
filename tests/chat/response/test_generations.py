"""The events of several generations in one stream."""

import asyncio
from collections.abc import AsyncGenerator

from fake_engine import FakeGeneration

from localrouter.chat.response.generations import merged
from localrouter.engine.messages import Event, Piece


async def test_looks_at_several_generations_come_as_they_are_ready() -> None:
    ready = asyncio.Event()

    class Slow(FakeGeneration):
        async def events(self) -> AsyncGenerator[list[Event], None]:
            await ready.wait()
            async for look in super().events():
                yield look

    seen = []
    async for index, _ in merged([Slow([[Piece(1, "slow")]]), FakeGeneration([[Piece(2, "fast")]])]):
        seen.append(index)
        ready.set()

    assert seen == [1, 0]


async def test_who_stops_looking_leaves_no_task_behind() -> None:
    class Endless(FakeGeneration):
        closed = False

        async def events(self) -> AsyncGenerator[list[Event], None]:
            try:
                yield [Piece(1, "first")]
                await asyncio.Event().wait()
            finally:
                self.closed = True

    generations = [Endless([]), Endless([])]
    looks = merged(generations)
    before = asyncio.all_tasks()

    await anext(looks)
    await looks.aclose()

    assert asyncio.all_tasks() == before
    assert all(each.closed for each in generations)

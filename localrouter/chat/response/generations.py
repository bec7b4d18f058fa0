"""What an engine computes for one request: one generation for each answer, and the events of all in one stream."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing

from localrouter.chat.engine_interface import Generation
from localrouter.engine.messages import Event
from localrouter.errors import RequestError


async def begun(submitted: Iterable[Generation], told: Callable[[int, RequestError], RequestError]) -> list[Generation]:
    """Return all that are submitted, once each is accepted. Raises what one is refused with, and frees all then.

    `told` turns a refusal of the generation of this number into what the client is told.
    """
    generations: list[Generation] = []
    try:
        for generation in submitted:
            generations.append(generation)  # noqa: PERF402 - those before a refusal have to be known
        for index, generation in enumerate(generations):
            try:
                await generation.accepted()
            except RequestError as refusal:
                raise told(index, refusal) from None
    except BaseException:
        for generation in generations:
            generation.cancel()
        raise
    return generations


async def joined(generations: Sequence[Generation]) -> AsyncGenerator[tuple[int, list[Event]], None]:
    """Yield the looks at all generations as they come, each with its generation's number. Ends when all have."""
    if len(generations) == 1:  # as nearly always: no task is needed to wait for one
        async with aclosing(generations[0].events()) as looks:
            async for events in looks:
                yield 0, events
        return
    looks_of = [generation.events() for generation in generations]
    waiting: dict[asyncio.Task[list[Event]], int] = {}
    try:
        for index, looks in enumerate(looks_of):
            waiting[asyncio.create_task(_next(looks))] = index
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=waiting.__getitem__):
                index = waiting.pop(task)
                if events := task.result():
                    yield index, events
                    waiting[asyncio.create_task(_next(looks_of[index]))] = index
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for looks in looks_of:
            await looks.aclose()


async def _next(looks: AsyncIterator[list[Event]]) -> list[Event]:
    """Return the next look; an empty one after the last."""
    return await anext(looks, [])

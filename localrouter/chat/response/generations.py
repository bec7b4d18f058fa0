"""The generations of one request, one per choice: submitted together, with their events in one stream."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import NamedTuple

from localrouter.chat.engine_interface import Generation
from localrouter.engine.messages import Event
from localrouter.errors import RequestError


class Admission(NamedTuple):
    """Generations that the engine has accepted."""

    generations: list[Generation]
    prompt_tokens: list[int]
    """Number of prompt tokens of each."""


async def accepted(submitted: Iterable[Generation], worded: Callable[[int, RequestError], RequestError]) -> Admission:
    """Return all generations once the engine has accepted each. Cancels all of them, and raises, when it rejects one.

    `worded` turns the error of the generation with this index into the error for the client.
    """
    generations: list[Generation] = []
    prompt_tokens: list[int] = []
    try:
        for generation in submitted:
            generations.append(generation)  # noqa: PERF402 - an error must leave the earlier ones in the list
        for index, generation in enumerate(generations):
            try:
                prompt_tokens.append(await generation.accepted())
            except RequestError as error:
                raise worded(index, error) from None
    except BaseException:
        for generation in generations:
            generation.cancel()
        raise
    return Admission(generations, prompt_tokens)


async def merged(generations: Sequence[Generation]) -> AsyncGenerator[tuple[int, list[Event]], None]:
    """Yield the events of all generations as they arrive: the generation's index and a batch of its events."""
    if len(generations) == 1:  # as nearly always: waiting for one needs no task
        async with aclosing(generations[0].events()) as batches:
            async for events in batches:
                yield 0, events
        return
    batches_of = [generation.events() for generation in generations]
    waiting: dict[asyncio.Task[list[Event]], int] = {}
    try:
        for index, batches in enumerate(batches_of):
            waiting[asyncio.create_task(_next(batches))] = index
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=waiting.__getitem__):
                index = waiting.pop(task)
                if events := task.result():
                    yield index, events
                    waiting[asyncio.create_task(_next(batches_of[index]))] = index
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for batches in batches_of:
            await batches.aclose()


async def _next(batches: AsyncIterator[list[Event]]) -> list[Event]:
    """Return the next batch of events; an empty one after the last."""
    return await anext(batches, [])

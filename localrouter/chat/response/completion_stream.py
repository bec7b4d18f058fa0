"""The stream of chunks for one request that an engine has accepted; both completion routes build on it."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from localrouter.chat.engine_interface import Generation
from localrouter.chat.response.generations import merged
from localrouter.chat.response.usage import usage_of
from localrouter.engine.messages import Event
from localrouter.engine.messages import TokenUsage as Counted
from localrouter.schema.chat_response import Usage
from localrouter.schema.explain import NotEnforced
from localrouter.schema.generation_fields import StreamOptions

Choice = TypeVar("Choice")
Chunk = TypeVar("Chunk")


class EventReader(Protocol[Choice]):
    """Turns the events of one choice into the choices of chunks."""

    usage: Counted | None
    """Token counts of the engine, once the choice has ended."""

    def feed(self, events: list[Event]) -> list[Choice]:
        """Return the chunk choices for these events. Raises EngineFailed or ShuttingDown when the engine has failed."""


@dataclass
class CompletionStream(ABC, Generic[Choice, Chunk]):
    """The chunks of all choices of one request."""

    generations: list[Generation]
    streams: Sequence[EventReader[Choice]]
    """One reader for each generation."""
    opening: list[Choice]
    """Chunk choices that are sent before the engine's first event."""
    choices: int
    """Number of choices generated per prompt."""
    includes_usage: bool
    """Whether a last chunk has the usage."""
    model: str
    fingerprint: str
    id: str
    created: int
    not_enforced: Sequence[NotEnforced] = ()
    """Parts of the request's schemas that the output may violate."""
    usage: Usage | None = field(default=None, init=False)
    """Usage of the whole request, once all choices have ended."""

    def cancel(self) -> None:
        """Cancel all generations of the request. Does nothing for those that have ended."""
        for generation in self.generations:
            generation.cancel()

    @abstractmethod
    def chunk(self, choices: list[Choice], usage: Usage | None) -> Chunk:
        """Return a chunk. `usage`, null included, is part of it only where `includes_usage`."""

    async def chunks(self) -> AsyncGenerator[list[Chunk], None]:
        """Yield the chunks in the order in which they are sent: the opening, text as it arrives, ends, the usage.

        Each list has the chunks for all events that had arrived together; text of several events is one chunk. Raises
        EngineFailed or ShuttingDown when the engine has failed.
        """
        if self.opening:
            yield [self.chunk([choice], None) for choice in self.opening]
        async with aclosing(merged(self.generations)) as batches:
            async for index, events in batches:
                yield [self.chunk([choice], None) for choice in self._feed(index, events)]
        if self.includes_usage:
            yield [self.chunk([], self.usage)]

    def _feed(self, index: int, events: list[Event]) -> list[Choice]:
        try:
            return self.streams[index].feed(events)
        finally:
            counted = [stream.usage for stream in self.streams if stream.usage]
            if len(counted) == len(self.streams):
                self.usage = usage_of(counted, self.choices)


def wants_usage(stream: bool | None, options: StreamOptions | None) -> bool:
    """Return whether the chunks include the usage. A response that is not streamed always has it."""
    return not stream or (options is not None and options.include_usage)

"""The stream of chunks for one request that an engine has accepted; both completion routes build on it."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Generic, Protocol, Self, TypeVar

from msgspec import UNSET, UnsetType

from localrouter.chat.response.generations import Admission, merged
from localrouter.chat.response.timings import timings_of
from localrouter.chat.response.usage import usage_of
from localrouter.engine.messages import Event, Finished, Piece
from localrouter.engine.messages import Timings as Measured
from localrouter.engine.messages import TokenUsage as Counted
from localrouter.schema.chat_response import Timings, Usage
from localrouter.schema.explain import NotEnforced
from localrouter.schema.generation_fields import GenerationFields
from localrouter.schema.ignored_fields import IgnoredField

Choice = TypeVar("Choice")
Chunk = TypeVar("Chunk")


class EventReader(Protocol[Choice]):
    """Turns the events of one choice into the choices of chunks."""

    usage: Counted | None
    """Token counts of the engine, once the choice has ended."""

    def feed(self, events: list[Event]) -> list[Choice]:
        """Return the chunk choices for these events. Raises EngineFailed or ShuttingDown when the engine has failed."""


@dataclass(frozen=True)
class Reports:
    """What the chunks have beside their choices."""

    usage: bool = True
    """Whether a last chunk has the usage, and all others have null."""
    running_usage: bool = False
    """Whether every chunk has the usage so far."""
    timings: bool = False
    """Whether every chunk has the timings so far."""

    @classmethod
    def of(cls, request: GenerationFields) -> Self:
        """Return what a request wants. A response that is not streamed always has the usage."""
        options = request.stream_options
        if not request.stream or options is None:
            return cls(usage=not request.stream, timings=bool(request.timings_per_token))
        return cls(options.include_usage, options.continuous_usage_stats, bool(request.timings_per_token))

    @property
    def progress(self) -> bool:
        """Whether the engine has to report the progress of its outputs."""
        return self.running_usage or self.timings


@dataclass
class CompletionStream(ABC, Generic[Choice, Chunk]):
    """The chunks of all choices of one request."""

    admission: Admission
    streams: Sequence[EventReader[Choice]]
    """One reader for each generation."""
    opening: list[Choice]
    """Chunk choices that are sent before the engine's first event."""
    choices: int
    """Number of choices generated per prompt."""
    reports: Reports
    model: str
    fingerprint: str
    id: str
    created: int
    not_enforced: Sequence[NotEnforced] = ()
    """Parts of the request's schemas that the output may violate."""
    ignored: Sequence[IgnoredField] = ()
    """Fields of the request that have no effect on this model."""
    usage: Usage | None = field(default=None, init=False)
    """Usage of the whole request, once all choices have ended."""
    _counted: list[Counted] = field(init=False)
    """Latest token usage of each generation."""
    _measured: dict[int, Measured] = field(default_factory=dict, init=False)
    """Latest durations of each generation that has begun."""

    def __post_init__(self) -> None:
        self._counted = [Counted(tokens, 0) for tokens in self.admission.prompt_tokens]

    def cancel(self) -> None:
        """Cancel all generations of the request. Does nothing for those that have ended."""
        for generation in self.admission.generations:
            generation.cancel()

    @abstractmethod
    def chunk(
        self, choices: list[Choice], usage: Usage | UnsetType | None, timings: Timings | UnsetType = UNSET
    ) -> Chunk:
        """Return a chunk with these choices, this usage and these timings."""

    async def chunks(self) -> AsyncGenerator[list[Chunk], None]:
        """Yield the chunks in the order in which they are sent: the opening, text as it arrives, ends, the usage.

        Each list has the chunks for all events that had arrived together; text of several events is one chunk. Raises
        EngineFailed or ShuttingDown when the engine has failed.
        """
        if self.opening:
            yield self._chunks(self.opening)
        async with aclosing(merged(self.admission.generations)) as batches:
            async for index, events in batches:
                yield self._chunks(self._feed(index, events))
        if self.reports.usage:
            yield [self.chunk([], self.usage, self._timings())]

    def _chunks(self, choices: Sequence[Choice]) -> list[Chunk]:
        """Return a chunk for each choice, with the usage and the timings so far where the request wants them."""
        usage: Usage | UnsetType | None = None if self.reports.usage else UNSET
        if self.reports.running_usage:
            usage = usage_of(self._counted, self.choices)
        timings = self._timings()
        return [self.chunk([choice], usage, timings) for choice in choices]

    def _timings(self) -> Timings | UnsetType:
        if not self.reports.timings:
            return UNSET
        return timings_of(self._measured.values(), usage_of(self._counted, self.choices))

    def _feed(self, index: int, events: list[Event]) -> list[Choice]:
        try:
            return self.streams[index].feed(events)
        finally:
            self._note(index, events)
            counted = [stream.usage for stream in self.streams if stream.usage]
            if len(counted) == len(self.streams):
                self.usage = usage_of(counted, self.choices)

    def _note(self, index: int, events: list[Event]) -> None:
        """Keep the latest progress of a generation."""
        for event in events:
            if isinstance(event, Piece) and event.progress:
                self._counted[index], self._measured[index] = event.progress.usage, event.progress.timings
            elif isinstance(event, Finished):
                self._counted[index] = event.usage
                if event.timings:
                    self._measured[index] = event.timings

"""What both routes have in common: a request that an engine has accepted, on its way to chunks."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Generic, Protocol, TypeVar

from localrouter import __version__
from localrouter.chat.engine_interface import Generation
from localrouter.chat.response.generations import joined
from localrouter.chat.response.usage import usage_of
from localrouter.engine.messages import Event
from localrouter.engine.messages import TokenUsage as Counted
from localrouter.engine.model_info import ModelInfo
from localrouter.schema.chat_response import Usage
from localrouter.schema.generation_request import StreamOptions

Choice = TypeVar("Choice")
Chunk = TypeVar("Chunk")


class AnswerStream(Protocol[Choice]):
    """Reads the events of one answer."""

    usage: Counted | None
    """What was counted, when the answer has ended."""

    def feed(self, events: list[Event]) -> list[Choice]:
        """Return what these events add. Raises EngineFailed, or ShuttingDown, when the engine could not finish."""


@dataclass
class CompletionStream(ABC, Generic[Choice, Chunk]):
    """The answers to one request. `usage` is there once all of them have ended."""

    generations: list[Generation]
    streams: Sequence[AnswerStream[Choice]]
    opening: list[Choice]
    """What the answers begin with, before the engine says anything."""
    answers: int
    """To each prompt."""
    includes_usage: bool
    model: str
    fingerprint: str
    id: str
    created: int
    usage: Usage | None = field(default=None, init=False)

    def cancel(self) -> None:
        """Free what the request holds. Does nothing when it has ended."""
        for generation in self.generations:
            generation.cancel()

    @abstractmethod
    def chunk(self, choices: list[Choice], usage: Usage | None) -> Chunk:
        """Return a chunk; `usage` is shown, null too, only where `includes_usage`."""

    async def chunks(self) -> AsyncGenerator[list[Chunk], None]:
        """Yield the answers: how they open, what is said as it comes, their ends, the usage where it was asked for.

        Each list holds what was there at one look, text that waited in one chunk. Raises EngineFailed, or ShuttingDown,
        when the engine could not finish.
        """
        if self.opening:
            yield [self.chunk([choice], None) for choice in self.opening]
        async with aclosing(joined(self.generations)) as looks:
            async for index, events in looks:
                yield [self.chunk([choice], None) for choice in self._feed(index, events)]
        if self.includes_usage:
            yield [self.chunk([], self.usage)]

    def _feed(self, index: int, events: list[Event]) -> list[Choice]:
        try:
            return self.streams[index].feed(events)
        finally:
            counted = [stream.usage for stream in self.streams if stream.usage]
            if len(counted) == len(self.streams):
                self.usage = usage_of(counted, self.answers)


def fingerprint_of(model: str, info: ModelInfo) -> str:
    """Return a word that changes with whatever can change an answer to the same request and seed."""
    facts = f"{__version__} {model} {info.size} {info.parameters} {info.device} {info.threads}"
    return "fp_" + blake2b(facts.encode(), digest_size=5).hexdigest()


def wants_usage(stream: bool | None, options: StreamOptions | None) -> bool:
    """Whether the usage is asked for. Plain answers always carry it, and they fold the same chunks."""
    return not stream or (options is not None and options.include_usage)

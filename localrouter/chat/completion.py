"""The conductor: takes a chat request to an engine and turns what comes back into OpenAI's chunks.

There is one path. A streamed answer sends the chunks, a plain one is the `fold` over the same chunks.
"""

import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Self
from uuid import uuid4

from localrouter import __version__
from localrouter.chat.choice import ChoiceStream
from localrouter.chat.engine import Engine, Generation
from localrouter.chat.generations import begun, joined
from localrouter.chat.prepared import PreparedRequest, prepare
from localrouter.chat.prompt import Renderer
from localrouter.chat.usage import usage_of
from localrouter.engine.messages import Event, ModelInfo
from localrouter.errors import InvalidRequest, RequestError
from localrouter.schema.answer import ChatChunk, ChunkChoice, Usage
from localrouter.schema.chat import ChatRequest


@dataclass
class Completion:
    """One request that an engine works on."""

    request: ChatRequest
    generations: list[Generation]
    streams: list[ChoiceStream]
    model: str
    fingerprint: str
    id: str
    created: int
    usage: Usage | None = field(default=None, init=False)

    @classmethod
    async def begin(cls, engine: Engine, request: ChatRequest, renderer: Renderer) -> Self:
        """Hand the request in and wait until its prompt is accepted.

        Raises what the template or the engine refuses it with, so that a refusal comes before the first event. The
        caller must `cancel` what it gets, whatever happens.
        """
        prepared = await prepare(request, engine.info, renderer)
        return cls(
            request=request,
            generations=await _begin(engine, prepared),
            streams=[
                ChoiceStream(
                    index,
                    prepared.parser(),
                    has_logprobs=bool(request.logprobs),
                    is_old_form=prepared.offer.is_old_form,
                )
                for index in range(prepared.choices)
            ],
            model=engine.model,
            fingerprint=fingerprint_of(engine.model, engine.info),
            id=f"chatcmpl-{uuid4().hex}",
            created=int(time.time()),
        )

    def cancel(self) -> None:
        """Free what the request holds. Does nothing when it has ended."""
        for generation in self.generations:
            generation.cancel()

    async def chunks(self) -> AsyncGenerator[list[ChatChunk], None]:
        """Yield the answers: the roles, the text as it comes, one finish reason each, the usage where it was asked for.

        Each list holds what was there at one look, text that waited in one chunk. Raises EngineFailed, or ShuttingDown,
        when the engine could not finish.
        """
        yield [self._chunk(stream.begin()) for stream in self.streams]
        async with aclosing(joined(self.generations)) as looks:
            async for index, events in looks:
                yield [self._chunk(choice) for choice in self._feed(index, events)]
        if self._include_usage:
            yield [self._shell([], usage=self.usage)]

    def _feed(self, index: int, events: list[Event]) -> Iterable[ChunkChoice]:
        try:
            return self.streams[index].feed(events)
        finally:
            counted = [stream.usage for stream in self.streams if stream.usage]
            if len(counted) == len(self.streams):
                self.usage = usage_of(counted, answers=len(counted))

    @property
    def _include_usage(self) -> bool:
        """Plain answers always carry the usage, and they fold the same chunks."""
        options = self.request.stream_options
        return not self.request.stream or (options is not None and options.include_usage)

    def _chunk(self, choice: ChunkChoice) -> ChatChunk:
        return self._shell([choice], usage=None)

    def _shell(self, choices: list[ChunkChoice], usage: Usage | None) -> ChatChunk:
        chunk = ChatChunk(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=choices,
            system_fingerprint=self.fingerprint,
        )
        if self._include_usage:
            chunk.usage = usage
        return chunk


async def _begin(engine: Engine, prepared: PreparedRequest) -> list[Generation]:
    """Hand the prompt in for each answer; the engine reads one that it is given several times but once."""

    def told(_: int, refusal: RequestError) -> RequestError:
        if refusal.reason != "invalid_grammar":
            return refusal
        return InvalidRequest(refusal.message, param=prepared.form_param, code=refusal.reason)

    submitted = (
        engine.submit(
            prepared.prompt.segments,
            prepared.sampling_for(index),
            prepared.max_tokens,
            grammar=prepared.grammar,
            thinking=prepared.thinking,
            markers=prepared.markers,
        )
        for index in range(prepared.choices)
    )
    return await begun(submitted, told)


def fingerprint_of(model: str, info: ModelInfo) -> str:
    """Return a word that changes with whatever can change an answer to the same request and seed."""
    facts = f"{__version__} {model} {info.size} {info.parameters} {info.device} {info.threads}"
    return "fp_" + blake2b(facts.encode(), digest_size=5).hexdigest()

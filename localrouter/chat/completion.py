"""The conductor: takes a chat request to an engine and turns what comes back into OpenAI's chunks.

There is one path. A streamed answer sends the chunks, a plain one is `fold` over the same chunks.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import groupby
from typing import Literal, Protocol, Self
from uuid import uuid4

from localrouter import __version__
from localrouter.chat.logprobs import shown
from localrouter.chat.sampling import sampling_of
from localrouter.chat.template import template_of
from localrouter.engine.messages import Event, Finished, Logprob, ModelInfo, Piece, Sampling, Segment
from localrouter.engine.messages import Usage as Counted
from localrouter.errors import EngineFailed, ShuttingDown
from localrouter.schema import (
    AnswerMessage,
    ChatAnswer,
    ChatChunk,
    ChatRequest,
    Choice,
    ChoiceLogprobs,
    ChunkChoice,
    Delta,
    PromptTokensDetails,
    Usage,
)


class Generation(Protocol):
    """One request inside an engine."""

    async def accepted(self) -> int:
        """Return the prompt's tokens once the engine took it; raise what it refused it with."""

    def events(self) -> AsyncIterator[list[Event]]:
        """Yield what happened since the last look; the last event is the one `Finished`."""

    def cancel(self) -> None:
        """Free what it holds, at once. Does nothing when it has ended."""


class Engine(Protocol):
    """A loaded model. `model` is the full name of its build."""

    @property
    def model(self) -> str: ...  # noqa: D102

    @property
    def info(self) -> ModelInfo: ...  # noqa: D102

    def submit(self, prompt: list[Segment], sampling: Sampling, max_tokens: int | None) -> Generation:
        """Hand in a prompt. Raises Overloaded when the queue is full."""


@dataclass
class Completion:
    """One chat request that an engine has accepted. `usage` is there once it has ended."""

    request: ChatRequest
    generation: Generation
    model: str
    fingerprint: str
    id: str
    created: int
    usage: Usage | None = field(default=None, init=False)

    @classmethod
    async def begin(cls, engine: Engine, request: ChatRequest) -> Self:
        """Render, submit, and wait until the engine has accepted the prompt.

        Raises what the template or the engine refuses it with, so that a refusal comes before the first event, and
        InvalidRequest for a bias on tokens that the model has not. The caller must `cancel` what it gets, whatever
        happens.
        """
        sampling = sampling_of(request, engine.info)
        prompt = template_of(engine.info).render([_turn(message.role, message.text) for message in request.messages])
        generation = engine.submit(prompt, sampling, request.max_completion_tokens or request.max_tokens)
        try:
            await generation.accepted()
        except BaseException:
            generation.cancel()
            raise
        return cls(
            request=request,
            generation=generation,
            model=engine.model,
            fingerprint=_fingerprint(engine),
            id=f"chatcmpl-{uuid4().hex}",
            created=int(time.time()),
        )

    def cancel(self) -> None:
        """Free what the request holds. Does nothing when it has ended."""
        self.generation.cancel()

    async def chunks(self) -> AsyncGenerator[list[ChatChunk], None]:
        """Yield the answer: the role, the text as it comes, one finish reason, the usage where it was asked for.

        Each list holds what was there at one look, text that waited in one chunk. Raises EngineFailed, or ShuttingDown,
        when the engine could not finish.
        """
        yield [self._chunk(Delta(role="assistant", content=""), logprobs=self._shown(()))]
        async for events in self.generation.events():
            yield [chunk for event in _joined(events) for chunk in self._of_event(event)]

    def _of_event(self, event: Event) -> Iterable[ChatChunk]:
        if isinstance(event, Piece):
            yield self._chunk(Delta(content=event.text), logprobs=self._shown(event.logprobs))
        elif isinstance(event, Finished):
            self.usage = _usage(event.usage)
            if event.reason not in ("stop", "length"):
                raise _failure(event)
            yield self._chunk(Delta(), event.reason)
            if self._include_usage:
                yield self._shell([], usage=self.usage)

    @property
    def _include_usage(self) -> bool:
        """Plain answers always carry the usage, and they fold the same chunks."""
        options = self.request.stream_options
        return not self.request.stream or (options is not None and options.include_usage)

    def _shown(self, tokens: Sequence[Logprob]) -> ChoiceLogprobs | None:
        return ChoiceLogprobs(shown(tokens)) if self.request.logprobs else None

    def _chunk(
        self,
        delta: Delta,
        finish_reason: Literal["stop", "length"] | None = None,
        logprobs: ChoiceLogprobs | None = None,
    ) -> ChatChunk:
        return self._shell([ChunkChoice(0, delta, finish_reason, logprobs)], usage=None)

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


async def fold(chunks: AsyncIterator[list[ChatChunk]]) -> ChatAnswer:
    """Return the plain answer that a stream of chunks amounts to."""
    text: list[str] = []
    told: list[ChoiceLogprobs] = []
    finish_reason = None
    async for several in chunks:
        for chunk in several:
            for choice in chunk.choices:
                text.append(choice.delta.content or "")
                told += [choice.logprobs] if choice.logprobs else []
                finish_reason = choice.finish_reason or finish_reason
            last = chunk
    if finish_reason is None or not isinstance(last.usage, Usage):
        raise EngineFailed("The answer ended without a finish reason.")
    logprobs = ChoiceLogprobs([token for some in told for token in some.content]) if told else None
    return ChatAnswer(
        id=last.id,
        created=last.created,
        model=last.model,
        choices=[Choice(0, AnswerMessage(content="".join(text)), finish_reason, logprobs)],
        usage=last.usage,
        system_fingerprint=last.system_fingerprint,
    )


def _joined(events: list[Event]) -> Iterable[Event]:
    """Join the texts of pieces that follow each other: what waited for a slow client, or a busy loop, is one chunk."""
    for is_text, some in groupby(events, lambda event: isinstance(event, Piece)):
        several = list(some)
        if is_text:
            pieces = [event for event in several if isinstance(event, Piece)]
            tokens = tuple(token for piece in pieces for token in piece.logprobs)
            yield Piece(pieces[0].id, "".join(piece.text for piece in pieces), tokens)
        else:
            yield from several


def _failure(end: Finished) -> EngineFailed | ShuttingDown:
    message = end.message or "The request was cancelled."
    return ShuttingDown(message) if end.code == ShuttingDown.code else EngineFailed(message, code=end.code)


def _turn(role: str, text: str) -> dict[str, str]:
    """Templates of Qwen and Gemma know no `developer`; OpenAI defines it as the newer name of `system`."""
    return {"role": "system" if role == "developer" else role, "content": text}


def _usage(counted: Counted) -> Usage:
    return Usage(
        prompt_tokens=counted.prompt_tokens,
        completion_tokens=counted.completion_tokens,
        total_tokens=counted.prompt_tokens + counted.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(counted.cached_tokens),
    )


def _fingerprint(engine: Engine) -> str:
    """Return a word that changes with whatever can change an answer to the same request and seed."""
    info = engine.info
    facts = f"{__version__} {engine.model} {info.size} {info.parameters} {info.device} {info.threads}"
    return "fp_" + blake2b(facts.encode(), digest_size=5).hexdigest()

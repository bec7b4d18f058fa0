"""Submits a chat request to an engine and turns the engine's events into OpenAI's chunks.

There is one path: a streamed response sends the chunks, and a response that is not streamed is the `fold` over them.
"""

import time
from dataclasses import dataclass, field
from typing import Self
from uuid import uuid4

from msgspec import UNSET, UnsetType

from localrouter.chat.engine_interface import LoadedEngine
from localrouter.chat.model_facts import facts_of
from localrouter.chat.prompt.chat_prompt import Renderer
from localrouter.chat.request.prepared_request import PreparedRequest, prepare
from localrouter.chat.response.choice import ChoiceStream
from localrouter.chat.response.completion_stream import CompletionStream, Reports
from localrouter.chat.response.generations import Admission, accepted
from localrouter.chat.response.prompt_logprobs import ScoredPrompt
from localrouter.chat.response.relaxed_grammar import admitted_or_relaxed
from localrouter.engine.generation_request import GenerationRequest
from localrouter.engine.messages import Event
from localrouter.errors import InvalidRequest, RequestError
from localrouter.schema.alias_defaults import NO_DEFAULTS, AliasDefaults
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.chat_response import ChatCompletionChunk, ChunkChoice, Timings, Usage
from localrouter.schema.explain import as_sent


@dataclass
class Completion(CompletionStream[ChunkChoice, ChatCompletionChunk]):
    """The chunks of all choices of one chat request."""

    prompt_logprobs: int | None = None
    """Likeliest tokens for each token of the prompt, which the last chunk has; None: not requested."""
    scored: ScoredPrompt = field(default_factory=ScoredPrompt)
    """Log probabilities of the prompt, which the first choice reports."""

    @classmethod
    async def begin(
        cls, engine: LoadedEngine, request: ChatRequest, renderer: Renderer, defaults: AliasDefaults = NO_DEFAULTS
    ) -> Self:
        """Submit the request and wait until the engine accepts its prompt.

        `defaults` are values for fields that the request leaves out.

        Raises the error with which the template or the engine rejects the request, before the first chunk. The caller
        must always `cancel` the returned stream.
        """
        model = facts_of(engine.model, engine.info, defaults)
        prepared = await prepare(request, model, renderer)
        reports = Reports.of(request)
        admission, prepared = await admitted_or_relaxed(
            prepared, lambda each: _submitted(engine, each, reports), prepared.relaxed
        )
        streams = [_stream(index, request, prepared) for index in range(prepared.choices)]
        return cls(
            admission=admission,
            streams=streams,
            opening=[stream.begin() for stream in streams],
            choices=prepared.choices,
            reports=reports,
            model=engine.model,
            fingerprint=model.fingerprint,
            id=f"chatcmpl-{uuid4().hex}",
            created=int(time.time()),
            not_enforced=as_sent(prepared.not_enforced, request),
            ignored=as_sent(prepared.ignored, request),
            prompt_logprobs=request.prompt_logprobs,
        )

    def _feed(self, index: int, events: list[Event]) -> list[ChunkChoice]:
        if index == 0:
            self.scored.read(events)
        return super()._feed(index, events)

    def chunk(
        self, choices: list[ChunkChoice], usage: Usage | UnsetType | None, timings: Timings | UnsetType = UNSET
    ) -> ChatCompletionChunk:
        """Return one chunk of a chat completion."""
        chunk = ChatCompletionChunk(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=choices,
            system_fingerprint=self.fingerprint,
            usage=usage,
            timings=timings,
        )
        if self.prompt_logprobs is not None and not choices:
            chunk.prompt_logprobs = self.scored.vllm_form(self.prompt_logprobs)
        return chunk


def _stream(index: int, request: ChatRequest, prepared: PreparedRequest) -> ChoiceStream:
    return ChoiceStream(
        index,
        prepared.parser(),
        has_logprobs=bool(request.logprobs),
        is_old_form=prepared.tools.is_old_form,
        shows_reasoning=request.include_reasoning is not False,
    )


async def _submitted(engine: LoadedEngine, prepared: PreparedRequest, reports: Reports) -> Admission:
    """Submit the prompt once per choice; the engine computes a prompt that several requests share only once.

    The first choice reports the log probabilities of the prompt.
    """

    def worded(_: int, error: RequestError) -> RequestError:
        if error.reason != "invalid_grammar":
            return error
        return InvalidRequest(error.message, param=prepared.grammar_param, code=error.reason)

    submitted = (
        engine.submit(
            GenerationRequest(
                prepared.prompt.segments,
                prepared.sampling_for(index),
                prepared.max_tokens,
                prepared.grammar,
                prepared.thinking,
                prepared.delimiters,
                prepared.calls,
                prompt_logprobs=None if index else prepared.prompt_logprobs,
                structured=prepared.has_response_format,
                reports_progress=reports.progress,
            )
        )
        for index in range(prepared.choices)
    )
    return await accepted(submitted, worded)

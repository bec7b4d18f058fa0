"""Takes a chat request to an engine and turns what comes back into OpenAI's chunks.

There is one path. A streamed answer sends the chunks, a plain one is the `fold` over the same chunks.
"""

import time
from dataclasses import dataclass
from typing import Self
from uuid import uuid4

from localrouter.chat.engine_interface import Generation, LoadedEngine
from localrouter.chat.prompt.chat_prompt import Renderer
from localrouter.chat.request.prepared_request import PreparedRequest, prepare
from localrouter.chat.response.choice import ChoiceStream
from localrouter.chat.response.completion_stream import CompletionStream, fingerprint_of, wants_usage
from localrouter.chat.response.generations import begun
from localrouter.engine.messages import GenerationRequest
from localrouter.errors import InvalidRequest, RequestError
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.chat_response import ChatCompletionChunk, ChunkChoice, Usage


@dataclass
class Completion(CompletionStream[ChunkChoice, ChatCompletionChunk]):
    """A conversation that an engine goes on with."""

    @classmethod
    async def begin(cls, engine: LoadedEngine, request: ChatRequest, renderer: Renderer) -> Self:
        """Hand the request in and wait until its prompt is accepted.

        Raises what the template or the engine refuses it with, so that a refusal comes before the first event. The
        caller must `cancel` what it gets, whatever happens.
        """
        prepared = await prepare(request, engine.info, renderer)
        streams = [_stream(index, request, prepared) for index in range(prepared.choices)]
        return cls(
            generations=await _begin(engine, prepared),
            streams=streams,
            opening=[stream.begin() for stream in streams],
            answers=prepared.choices,
            includes_usage=wants_usage(request.stream, request.stream_options),
            model=engine.model,
            fingerprint=fingerprint_of(engine.model, engine.info),
            id=f"chatcmpl-{uuid4().hex}",
            created=int(time.time()),
        )

    def chunk(self, choices: list[ChunkChoice], usage: Usage | None) -> ChatCompletionChunk:
        """Return a chunk of a conversation's answer."""
        chunk = ChatCompletionChunk(
            id=self.id,
            created=self.created,
            model=self.model,
            choices=choices,
            system_fingerprint=self.fingerprint,
        )
        if self.includes_usage:
            chunk.usage = usage
        return chunk


def _stream(index: int, request: ChatRequest, prepared: PreparedRequest) -> ChoiceStream:
    return ChoiceStream(
        index, prepared.parser(), has_logprobs=bool(request.logprobs), is_old_form=prepared.offer.is_old_form
    )


async def _begin(engine: LoadedEngine, prepared: PreparedRequest) -> list[Generation]:
    """Hand the prompt in for each answer; the engine reads one that it is given several times but once."""

    def told(_: int, refusal: RequestError) -> RequestError:
        if refusal.reason != "invalid_grammar":
            return refusal
        return InvalidRequest(refusal.message, param=prepared.form_param, code=refusal.reason)

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
                structured=prepared.has_response_format,
            )
        )
        for index in range(prepared.choices)
    )
    return await begun(submitted, told)

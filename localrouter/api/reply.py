"""The response to one request: one JSON body or a stream of events, with headers that name what has no effect."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

import msgspec
from litestar.types import Send

from localrouter.api.access_log import AccessRecord
from localrouter.api.error_responses import problem_of
from localrouter.api.ignored_headers import IGNORED, NOT_ENFORCED, Headers, named
from localrouter.api.sse import DONE, EventStream, StreamForm, event
from localrouter.chat.response.chat_completion import Completion
from localrouter.chat.response.completion_stream import CompletionStream
from localrouter.dialects.dialect import EventTranslator
from localrouter.schema.chat_response import ChatCompletionChunk
from localrouter.schema.explain import NotEnforced
from localrouter.schema.ignored_fields import IgnoredField

LOG = logging.getLogger("localrouter.api")

Choice = TypeVar("Choice")
Chunk = TypeVar("Chunk")


class Reply:
    """Sends the response to one request."""

    def __init__(
        self,
        send: Send,
        record: AccessRecord,
        ping_seconds: float,
        ignored: Sequence[IgnoredField] = (),
        *,
        model: str | None = None,
    ) -> None:
        """`ping_seconds` is that of the settings; a header of the response names the fields that are `ignored`.

        `model` is the model name of the response; None: the full name of the build.
        """
        self._send = send
        self._record = record
        self._ping_seconds = ping_seconds
        self._model = model
        self._ignored = list(ignored)
        self._not_enforced: list[str] = []

    def name(self, ignored: Sequence[IgnoredField], not_enforced: Sequence[NotEnforced] = ()) -> None:
        """Name in headers more fields without effect, and schemas that are not enforced. Called before the response."""
        if ignored:
            LOG.debug("fields without effect request=%s fields=%s", self._record.id, [each.field for each in ignored])
        known = {each.field for each in self._ignored}
        self._ignored += [each for each in ignored if each.field not in known]
        self._not_enforced += [each.field for each in not_enforced]

    @property
    def _headers(self) -> Headers:
        return [*named(IGNORED, (each.field for each in self._ignored)), *named(NOT_ENFORCED, self._not_enforced)]

    async def plain(self, content: object) -> None:
        """Send one JSON body."""
        if self._model is not None and isinstance(content, msgspec.Struct) and hasattr(content, "model"):
            content = msgspec.structs.replace(content, model=self._model)
        body = msgspec.json.encode(content)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers += self._headers
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def completion(
        self,
        completion: CompletionStream[Choice, Chunk],
        fold: Callable[[AsyncGenerator[list[Chunk], None]], Awaitable[object]],
        *,
        stream: bool | None,
        done: bytes = DONE,
    ) -> None:
        """Send the chunks of `completion` as they arrive, or the response that they `fold` to, then cancel it.

        `done` is what ends a stream of chunks.
        """
        completion.model = self._model or completion.model
        self.name(completion.ignored, completion.not_enforced)
        try:
            async with aclosing(self._counted(completion)) as chunks:
                if stream:
                    await self._stream(chunks, done)
                else:
                    await self.plain(await fold(chunks))
        finally:
            completion.cancel()

    async def translated(
        self, completion: Completion, translator: EventTranslator, form: StreamForm, *, stream: bool | None
    ) -> None:
        """Send the events that `translator` makes of the chunks of `completion`, or its whole response, then cancel it.

        Errors name the fields of the dialect.
        """
        completion.model = self._model or completion.model
        self.name(completion.ignored, completion.not_enforced)
        try:
            async with aclosing(self._counted(completion)) as chunks:
                if stream:
                    await self._stream_translated(chunks, translator, form)
                else:
                    async for several in chunks:
                        translator.feed(several)
                    await self.plain(translator.response())
        finally:
            completion.cancel()

    async def _stream_translated(
        self, chunks: AsyncGenerator[list[ChatCompletionChunk], None], translator: EventTranslator, form: StreamForm
    ) -> None:
        async with EventStream(self._send, self._ping_seconds, self._headers, form) as stream:
            last: Sequence[object] = ()
            try:
                async for several in chunks:
                    await stream.write(translator.feed(several))
            except Exception as error:  # the status is sent already: only the stream can carry the error
                problem = problem_of(error, self._record)
                last = translator.failure(problem.body.error.message, problem.body.error.code, problem.status)
            await stream.end(b"".join(map(form.event, last)) + form.done)

    async def _stream(self, chunks: AsyncGenerator[list[Chunk], None], done: bytes) -> None:
        async with EventStream(self._send, self._ping_seconds, self._headers) as stream:
            try:
                async for several in chunks:
                    await stream.write(several)
            except Exception as error:  # the status is sent already: only the stream can carry the error
                await stream.end(event(problem_of(error, self._record).body))
            else:
                await stream.end(done)

    async def _counted(self, completion: CompletionStream[Choice, Chunk]) -> AsyncGenerator[list[Chunk], None]:
        """Yield the chunks and note the usage in the access log."""
        async with aclosing(completion.chunks()) as chunks:
            async for several in chunks:
                if completion.usage:
                    self._record.prompt_tokens = completion.usage.prompt_tokens
                    self._record.completion_tokens = completion.usage.completion_tokens
                yield several

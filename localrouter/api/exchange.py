"""One request and its response, for every route: read, generate, respond, and free all resources."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Generic, TypeAlias, TypeVar, cast

import msgspec
from litestar.types import HTTPScope, Receive, Scope, Send
from pydantic import BaseModel

from localrouter.api.access_log import CLIENT_LEFT, AccessRecord, record_of
from localrouter.api.body import read_body
from localrouter.api.disconnect import ClientLeft, while_connected
from localrouter.api.error_responses import problem_of
from localrouter.api.ignored_headers import IGNORED, NOT_ENFORCED, Headers, named
from localrouter.api.log_fields import fields
from localrouter.api.request_parsing import parse_body
from localrouter.api.service import Service
from localrouter.api.sse import DONE, EventStream, event
from localrouter.chat.engine_interface import LeasedEngine
from localrouter.chat.response.completion_stream import CompletionStream
from localrouter.errors import InvalidRequest
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.explain import NotEnforced
from localrouter.schema.generation_fields import GenerationFields
from localrouter.schema.ignored_fields import UNKNOWN, IgnoredField, ignored_fields
from localrouter.schema.infill import InfillRequest
from localrouter.schema.text_completions import CompletionRequest
from localrouter.schema.tokenization import DetokenizeRequest, TokenizeRequest

LOG = logging.getLogger("localrouter.api")

Asked = TypeVar("Asked", ChatRequest, CompletionRequest, InfillRequest, TokenizeRequest, DetokenizeRequest)
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


def _as_sent(error: InvalidRequest, request: BaseModel) -> InvalidRequest:
    """Return an error that names the field that the client sent, where that is another server's name of ours."""
    if error.param is None or not isinstance(request, GenerationFields):
        return error
    sent = request.as_sent(error.param)
    return InvalidRequest(error.message.replace(error.param, sent), param=sent, code=error.reason)


Handler: TypeAlias = Callable[[LeasedEngine, Asked, Reply], Awaitable[None]]
"""A route's handler of a parsed request, called once the model is loaded."""


class Exchange(Generic[Asked]):
    """One request and its response.

    It speaks ASGI itself, so that one task and one `finally` reach from the first byte of the body to the last of the
    response, and a client that leaves at any time in between is noticed. The application's exception handler turns
    errors before the response into error responses.
    """

    def __init__(self, service: Service, asked: type[Asked], respond: Handler[Asked]) -> None:
        """`asked` is the model of the body, `respond` the handler of the route."""
        self._service = service
        self._asked: type[Asked] = asked
        self._respond: Handler[Asked] = respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, generate, respond."""
        record = record_of(scope)
        try:
            settings = self._service.settings
            body = await read_body(cast(HTTPScope, scope), receive, settings.max_body)
            request = parse_body(body, self._asked, ignore_unknown=settings.unknown_fields == "ignore")
            await while_connected(receive, self._serve(request, record, send))
        except ClientLeft:
            record.status = CLIENT_LEFT

    async def _serve(self, request: Asked, record: AccessRecord, send: Send) -> None:
        record.model = request.model
        ignored = ignored_fields(request)
        self._log_ignored(request, ignored, record)
        async with self._service.lease(request.model, request.ttl) as engine:
            record.model = engine.model
            shown = engine.name if self._service.settings.echo_model_name else None
            reply = Reply(send, record, self._service.settings.sse_ping_seconds, ignored, model=shown)
            try:
                await self._respond(engine, request, reply)
            except InvalidRequest as error:
                raise _as_sent(error, request) from error.__cause__

    def _log_ignored(self, request: BaseModel, ignored: Sequence[IgnoredField], record: AccessRecord) -> None:
        """Write the ignored fields to the debug log, and each unknown field of the body to the log, once."""
        if ignored and LOG.isEnabledFor(logging.DEBUG):
            names = ",".join(each.field for each in ignored)
            LOG.debug("ignored fields %s", fields({"request": record.id, "fields": names}))
        taken_out = request.without_effect() if isinstance(request, GenerationFields) else {}
        for name, why in taken_out.items():
            if why == UNKNOWN and self._service.is_first_time(name):
                facts = {"field": name, "model": record.model, "request": record.id}
                LOG.warning("unknown field ignored %s", fields(facts))

"""`POST /v1/chat/completions`."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

import msgspec
from litestar import Request, post
from litestar.datastructures import State
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from localrouter.api.body import read_body
from localrouter.api.disconnect import ClientLeft, while_connected
from localrouter.api.errors import problem_of
from localrouter.api.parse import parse_body
from localrouter.api.record import CLIENT_LEFT, Record, record_of
from localrouter.api.service import Service, service_of
from localrouter.api.sse import DONE, EventStream, event
from localrouter.chat.completion import Completion, fold
from localrouter.schema import ChatChunk, ChatRequest


@post("/chat/completions", status_code=200)
async def create_chat_completion(request: Request[None, None, State]) -> ASGIApp:
    """Answer a conversation, streamed or not."""
    return Exchange(service_of(request.app.state))


class Exchange:
    """One request and its answer.

    It speaks ASGI itself, so that one task and one `finally` reach from the first byte of the body to the last of the
    answer, and a client that leaves at any time in between is noticed. What it raises before it answers, the
    application's exception handler turns into a response.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read, compute, answer."""
        record = record_of(scope)
        try:
            body = await read_body(cast(HTTPScope, scope), receive, self._service.settings.max_body)
            await while_connected(receive, self._answer(parse_body(body), record, send))
        except ClientLeft:
            record.status = CLIENT_LEFT

    async def _answer(self, request: ChatRequest, record: Record, send: Send) -> None:
        record.model = request.model
        engine = await self._service.engine(request.model)
        record.model = engine.model
        completion = await Completion.begin(engine, request)
        try:
            async with aclosing(_chunks(completion, record)) as chunks:
                if request.stream:
                    await self._stream(chunks, record, send)
                else:
                    await _send_json(send, await fold(chunks))
        finally:
            completion.cancel()

    async def _stream(self, chunks: AsyncGenerator[list[ChatChunk], None], record: Record, send: Send) -> None:
        async with EventStream(send, self._service.keep_alive) as stream:
            try:
                async for several in chunks:
                    await stream.write(several)
            except Exception as error:  # the status is sent; whatever it is, only the stream can say so
                await stream.end(event(problem_of(error, record).body))
            else:
                await stream.end(DONE)


async def _chunks(completion: Completion, record: Record) -> AsyncGenerator[list[ChatChunk], None]:
    """Yield the answer's chunks and note what they count."""
    async with aclosing(completion.chunks()) as chunks:
        async for several in chunks:
            if completion.usage:
                record.prompt_tokens = completion.usage.prompt_tokens
                record.completion_tokens = completion.usage.completion_tokens
            yield several


async def _send_json(send: Send, answer: object) -> None:
    body = msgspec.json.encode(answer)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})

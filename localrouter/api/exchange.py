"""One request and its response, for every route: read, generate, respond, and free all resources."""

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeAlias, TypeVar, cast

from litestar.types import HTTPScope, Receive, Scope, Send

from localrouter.api.access_log import CLIENT_LEFT, AccessRecord, record_of
from localrouter.api.body import read_body
from localrouter.api.disconnect import ClientLeft, while_connected
from localrouter.api.log_fields import fields
from localrouter.api.reply import Reply
from localrouter.api.request_parsing import parse_body
from localrouter.api.service import Service
from localrouter.chat.engine_interface import LeasedEngine
from localrouter.errors import InvalidRequest
from localrouter.schema.ignored_fields import UNKNOWN, IgnoredField, ignored_fields
from localrouter.schema.model_request import ModelRequest

LOG = logging.getLogger("localrouter.api")

Asked = TypeVar("Asked", bound=ModelRequest)


@contextmanager
def errors_as_sent(request: ModelRequest) -> Iterator[None]:
    """Let errors that name a field of `request` name the field that the client sent, where that is another one."""
    try:
        yield
    except InvalidRequest as error:
        if error.param is None:
            raise
        sent = request.as_sent(error.param)
        raise InvalidRequest(
            error.message.replace(error.param, sent), param=sent, code=error.reason
        ) from error.__cause__


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
            with errors_as_sent(request):
                await self._respond(engine, request, reply)

    def _log_ignored(self, request: ModelRequest, ignored: Sequence[IgnoredField], record: AccessRecord) -> None:
        """Write the ignored fields to the debug log, and each unknown field of the body to the log, once."""
        if ignored and LOG.isEnabledFor(logging.DEBUG):
            names = ",".join(each.field for each in ignored)
            LOG.debug("ignored fields %s", fields({"request": record.id, "fields": names}))
        for name, why in request.without_effect().items():
            if why == UNKNOWN and self._service.is_first_time(name):
                facts = {"field": name, "model": record.model, "request": record.id}
                LOG.warning("unknown field ignored %s", fields(facts))

"""The access log: one line per request, and the request id that the response carries."""

import logging
import time
from dataclasses import dataclass, field
from uuid import uuid4

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from localrouter.api.log_fields import fields, quoted

LOG = logging.getLogger("localrouter.access")

CLIENT_LEFT = 499
"""Status in the log for a client that left before the response."""
MAX_PATH = 200
"""Characters of a path in the log."""


@dataclass
class AccessRecord:
    """Facts of one request for its line in the log; never the text of messages."""

    id: str = field(default_factory=lambda: f"req_{uuid4().hex}")
    started: float = field(default_factory=time.perf_counter)
    status: int | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    problem: str | None = None
    """The code of the error that the request ended with."""

    def line(self, method: str, path: str) -> str:
        """Return the line for the log: method, path and status, then a field for each known fact."""
        facts = {
            "model": self.model,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "error": self.problem,
            "ms": round((time.perf_counter() - self.started) * 1000),
            "id": self.id,
        }
        known = {name: fact for name, fact in facts.items() if fact is not None}
        return f"{quoted(method)} {quoted(path[:MAX_PATH])} {self.status or '-'} {fields(known)}"


def record_of(scope: Scope) -> AccessRecord:
    """Return the record of the request that `scope` belongs to."""
    record = scope["state"]["record"]
    assert isinstance(record, AccessRecord)
    return record


class AccessLog:
    """Wraps an application: gives each request an id, sends it with the response, and writes the log line."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == ScopeType.HTTP, "the server was started without websockets"
        record = scope["state"]["record"] = AccessRecord()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = record.status or message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", record.id.encode())]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            LOG.info(record.line(scope["method"], scope["path"]))

"""A server that keeps every promise of the reference, and can be told to break one."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from exemplary_model import chunks, complete, complete_text, text_chunks
from exemplary_rules import MODEL, Json, Refusal, validate, validate_fields

Change = Callable[[Any], Any]


class Handler(BaseHTTPRequestHandler):
    """Routes. `server` carries the changes."""

    protocol_version = "HTTP/1.1"
    server: "Exemplary"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base class
        del format, args

    def do_GET(self) -> None:
        model = {"id": MODEL, "object": "model", "created": 1, "owned_by": "nobody"}
        found = {"/v1/models": {"object": "list", "data": [model]}, f"/v1/models/{MODEL}": model}.get(self.path)
        missing = Refusal(404, "nothing is here", None, "model_not_found")
        self.answer(*((200, self.server.answers(found)) if found else (missing.status, missing.body)))

    def do_PUT(self) -> None:
        self.body()
        self.answer(405, Refusal(405, "not allowed").body)

    def do_POST(self) -> None:
        try:
            sent = self.server.requests(json.loads(self.body()))
            if self.server.drips:
                return self.drip()
            body = {name: value for name, value in sent.items() if value is not None}
            chat = self.path.endswith("/chat/completions")
            (validate if chat else validate_fields)(body)
            if body.get("stream"):
                self.stream(self.server.streams([*(chunks if chat else text_chunks)(body)]))
            else:
                self.answer(200, self.server.answers((complete if chat else complete_text)(body)))
        except ValueError:
            self.answer(400, Refusal(400, "no JSON").body)
        except BlockingIOError:
            self.server.over.wait()  # this answer never comes
        except Refusal as rejection:
            self.answer(rejection.status, rejection.body)

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def drip(self) -> None:
        """A stream that goes on for as long as somebody reads it, and says nothing."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        with suppress(OSError):
            while not self.server.over.wait(0.02):
                self.wfile.write(b": still here\n\n")

    def stream(self, events: list[Json]) -> None:
        data = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
        self.send(200, "text/event-stream", data + self.server.last)

    def answer(self, status: int, body: Any) -> None:
        if status >= 400:
            status, body = self.server.errors((status, body))
        self.send(status, "application/json", json.dumps(body))

    def send(self, status: int, media_type: str, text: str) -> None:
        if self.server.page is not None:
            status, media_type, text = self.server.status, "text/html", self.server.page
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def unchanged(value: Any) -> Any:
    return value


class Exemplary(ThreadingHTTPServer):
    """What happens to requests, answers, streams and errors on their way; by default nothing."""

    daemon_threads = True
    requests: Change = staticmethod(unchanged)
    answers: Change = staticmethod(unchanged)
    streams: Change = staticmethod(unchanged)
    errors: Change = staticmethod(unchanged)
    last = "data: [DONE]\n\n"
    drips = False
    page: str | None = None
    """What everybody is answered who asks for anything, with this status."""
    status = 200

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.over = threading.Event()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


@contextmanager
def exemplary_server(**changes: Any) -> Iterator[Exemplary]:
    """Run the server on a free port; `changes` are attributes of Exemplary."""
    with Exemplary(("127.0.0.1", 0), Handler) as server:
        for name, change in changes.items():
            setattr(server, name, change)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()

"""A web server on loopback with one empty page, which has the OpenAI JS client, and the client's files."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

EMPTY = "<!DOCTYPE html><title>page</title><body></body>"
WITH_CLIENT = """<!DOCTYPE html><title>page</title>
<script type="importmap">{"imports": {"openai": "/node_modules/openai/index.mjs"}}</script>
<script type="module">import OpenAI from "openai"; window.OpenAI = OpenAI;</script>
<body></body>"""


class _Pages(SimpleHTTPRequestHandler):
    """Serves a page at / and files of the folder below it."""

    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}  # noqa: RUF012 - as above

    def do_GET(self) -> None:
        pages = {"/": EMPTY, "/client": WITH_CLIENT}
        if self.path not in pages:
            super().do_GET()
            return
        body = pages[self.path].encode()
        self.send_response(200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base
        """Write no log."""


@contextmanager
def web_pages(folder: Path) -> Iterator[int]:
    """Serve the pages and the files of `folder` while the block lasts; yield the port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Pages, directory=str(folder))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()

"""How servers are started, and which ones that run already can be compared with."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from localrouter.bench.load.load_generator import run
from localrouter.bench.servers.bench_server import ServerKind, llama_server, running_server
from localrouter.bench.servers.peer import Peer
from localrouter.bench.servers.processes import ProgramFailed
from localrouter.bench.workloads import OPENAI, WORKLOADS, Dialogue
from localrouter.errors import ConfigError

CHUNKS = (
    {"choices": [{"delta": {"content": "a"}, "finish_reason": None}]},
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"completion_tokens": 1}},
)
EVENTS = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in CHUNKS) + b"data: [DONE]\n\n"


@contextmanager
def server_of(*models: str, owner: str = "llamacpp", events: bytes = EVENTS) -> Iterator[str]:
    """Run a server that knows these models and has one answer; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listed = [{"id": model, "owned_by": owner} for model in models]
            self._answer(json.dumps({"data": listed}).encode() if self.path == "/v1/models" else b"no JSON")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(events)

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_a_running_server_is_asked_for_its_model(ending: str) -> None:
    with server_of("the one") as url:
        server = running_server(url + ending)
        figures = run(server.endpoint, [Dialogue(["Hello"], 8)])

    assert (server.kind, server.endpoint.model, server.memory) == (ServerKind.LLAMA, "the one", None)
    assert server.name == url.removeprefix("http://")
    assert (figures.tokens, figures.broken) == (1, 0)


def test_of_several_models_one_has_to_be_named() -> None:
    with server_of("a", "b", owner="somebody") as url:
        with pytest.raises(ConfigError, match="has 2 models: a, b") as refused:
            running_server(url)
        assert "--peer-model" in str(refused.value.hint)
        with pytest.raises(ConfigError, match="has no model c"):
            running_server(url, "c")
        server = running_server(url, "b")

    assert (server.kind, server.endpoint.model) == (ServerKind.OTHER, "b")


def test_who_is_not_llama_server_is_not_sent_its_fields() -> None:
    with server_of("a") as llama, server_of("a", owner="somebody") as other:
        assert running_server(llama).fields(WORKLOADS["many32"])["top_k"] == 0
        assert running_server(other).fields(WORKLOADS["many32"]) == OPENAI


def test_a_server_that_is_none_or_cannot_answer_is_refused() -> None:
    with server_of("a") as url, pytest.raises(ConfigError, match="does not list any models"):
        running_server(f"{url}/somewhere")
    with (
        server_of("a", events=EVENTS[:-14]) as url,
        pytest.raises(ProgramFailed, match="failed its first request: 0 times"),
    ):
        running_server(url)
    with pytest.raises(ConfigError, match="does not list any models"):
        running_server(url)


def test_llama_server_gets_all_cores_and_slots_for_the_largest_workload(tmp_path: Path) -> None:
    program = tmp_path / "llama-server"
    program.write_text('#!/bin/sh\necho "$@"\nexit 3\n')
    program.chmod(0o755)

    with pytest.raises(ProgramFailed) as failed, llama_server(Peer(tmp_path, repack=False), Path("m.gguf"), cores=7):
        pass
    told = failed.value.message
    assert "--ctx-size 65536 --parallel 32 --kv-unified --threads 7 --no-repack" in told
    assert "--model m.gguf" in told

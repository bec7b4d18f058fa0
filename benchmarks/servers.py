"""Servers under test: started on a free port of this machine, ready when they have answered once, and stopped."""

import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from benchmarks import load
from benchmarks.load import Endpoint
from benchmarks.peer import Peer
from benchmarks.processes import Program, ProgramFailed, rss, running
from benchmarks.workloads import Conversation

Found = TypeVar("Found")

ALIAS = "bench"
READY_SECONDS = 300.0
CELLS = 32768
SLOTS = 32
OPENAI_SAMPLING: Mapping[str, Any] = {"temperature": 1.0, "top_p": 1.0}
WHOLE_VOCABULARY: Mapping[str, Any] = {**OPENAI_SAMPLING, "top_k": 0, "min_p": 0.0}
"""The same distribution for llama-server, whose defaults cut the vocabulary to 40 tokens before anything else."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    name: str
    program: Program
    endpoint: Endpoint

    @property
    def memory(self) -> tuple[int, int]:
        """Bytes that the process which answers HTTP holds, and those of its workers together."""
        return rss(self.program.process.pid), sum(rss(worker) for worker in self.program.workers)


@contextmanager
def localrouter(model: str | Path, *, threads: int | None = None) -> Iterator[Server]:
    """Run `localrouter serve` with this model, a GGUF or `builtin:demo`, as a user would: with its defaults."""
    command = [sys.executable, "-m", "localrouter", "serve", "--offline", "--port", "0", "--model", f"{ALIAS}={model}"]
    if threads:
        command += ["--threads", str(threads)]
    with running(command, _environment()) as program:
        found = _wait(program, lambda: re.search(r"base_url: (http://\S+)", program.said))
        yield _warm(Server("localrouter", program, Endpoint(found[1], ALIAS, OPENAI_SAMPLING)))


@contextmanager
def llama_server(peer: Peer, model: Path, *, own_sampling: bool = False) -> Iterator[Server]:
    """Run llama-server with this model, and as many slots as the largest workload has streams.

    It samples as OpenAI's defaults say, from the whole vocabulary; or, with `own_sampling`, by its own defaults.
    """
    port = free_port()
    command: list[str | Path] = [peer.program("llama-server"), "--model", model, "--alias", ALIAS]
    command += ["--host", "127.0.0.1", "--port", str(port), "--no-webui", "--offline"]
    command += ["--ctx-size", str(CELLS), "--parallel", str(SLOTS), "--kv-unified"]
    command += [] if peer.repack else ["--no-repack"]
    with running(command, os.environ) as program:
        _wait(program, lambda: _is_healthy(port) or None)
        extra = {} if own_sampling else WHOLE_VOCABULARY
        yield _warm(Server("llama-server", program, Endpoint(f"http://127.0.0.1:{port}/v1", ALIAS, extra)))


def free_port() -> int:
    """Return a port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment() -> dict[str, str]:
    """The environment without settings of localrouter: what is measured are its defaults."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LOCALROUTER_")}


def _wait(program: Program, look: Callable[[], Found | None]) -> Found:
    """Look until something is found. Raises ProgramFailed."""
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        found = look()
        if found is not None:
            return found
        program.check()
        time.sleep(0.05)
    raise ProgramFailed(f"{program.process.args!s} was not ready after {READY_SECONDS:g} s:\n{program.last_words}")


def _is_healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _warm(server: Server) -> Server:
    """Have it answer once, so that its model is loaded."""
    figures = load.run(server.endpoint, [Conversation(["Hello"], 8)])
    if figures.broken:
        raise ProgramFailed(f"{server.name} cannot answer: {figures.flaw}\n{server.program.last_words}")
    return server

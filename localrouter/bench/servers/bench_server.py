"""Servers that are compared: localrouter and llama-server, started on a free port, or a running server."""

import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import httpx2

from localrouter.bench.load import load_generator
from localrouter.bench.load.load_generator import Endpoint, require_loopback
from localrouter.bench.servers.peer import Peer
from localrouter.bench.servers.processes import Program, ProgramFailed, rss, running
from localrouter.bench.workloads import Dialogue, Fields, Workload
from localrouter.errors import ConfigError

Found = TypeVar("Found")

ALIAS = "bench"
READY_SECONDS = 300.0
CELLS = 65536
SLOTS = 32
NO_MODELS = "version = 1\n[models]\n"


class ServerKind(Enum):
    """Kind of a server, which decides the sampling fields of its requests."""

    OURS = auto()
    LLAMA = auto()
    OTHER = auto()


@dataclass(frozen=True)
class BenchServer:
    """A server that is ready. `program` is None if it was started elsewhere."""

    name: str
    kind: ServerKind
    endpoint: Endpoint
    program: Program | None = None

    @property
    def memory(self) -> tuple[int, int] | None:
        """Resident memory of the HTTP process, and of its workers together, in bytes; None if started elsewhere."""
        if self.program is None:
            return None
        return rss(self.program.process.pid), sum(rss(worker) for worker in self.program.workers)

    def fields(self, workload: Workload) -> Fields:
        """Return the sampling fields of this server's requests in a workload."""
        return {ServerKind.OURS: workload.ours, ServerKind.LLAMA: workload.llama, ServerKind.OTHER: workload.others}[
            self.kind
        ]


@contextmanager
def localrouter(model: str | Path, *, threads: int | None = None) -> Iterator[BenchServer]:
    """Run `localrouter serve` with default settings and this model, a GGUF or `builtin:demo`, while the block lasts.

    The server has an empty manifest, so that no other model can have the same name.
    """
    command = [sys.executable, "-m", "localrouter", "serve", "--offline", "--port", "0", "--model", f"{ALIAS}={model}"]
    command += ["--threads", str(threads)] if threads else []
    with TemporaryDirectory() as folder:
        manifest = Path(folder) / "manifest.toml"
        manifest.write_text(NO_MODELS, encoding="utf-8")
        with running([*command, "--manifest", manifest], _environment()) as program:
            yield _answering(program)


def _answering(program: Program) -> BenchServer:
    found = _wait(program, lambda: re.search(r"base_url: (http://\S+)", program.text))
    return _warm(BenchServer("localrouter", ServerKind.OURS, Endpoint(found[1], ALIAS), program))


@contextmanager
def llama_server(peer: Peer, model: Path, cores: int) -> Iterator[BenchServer]:
    """Run llama-server with this model, all cores, and a slot for each stream of the largest workload."""
    port = free_port()
    command: list[str | Path] = [peer.program("llama-server"), "--model", model, "--alias", ALIAS]
    command += ["--host", "127.0.0.1", "--port", str(port), "--no-webui", "--offline"]
    command += ["--ctx-size", str(CELLS), "--parallel", str(SLOTS), "--kv-unified", "--threads", str(cores)]
    command += [] if peer.repack else ["--no-repack"]
    with running(command, os.environ) as program:
        _wait(program, lambda: _is_healthy(port) or None)
        yield _warm(
            BenchServer("llama-server", ServerKind.LLAMA, Endpoint(f"http://127.0.0.1:{port}/v1", ALIAS), program)
        )


def running_server(url: str, model: str | None = None) -> BenchServer:
    """Return a running server of this machine, with its only model or the named one.

    Raises ConfigError when the server is on another machine, does not list its models, or lacks the named one.
    """
    require_loopback(url)
    base = url.rstrip("/")
    base = base if base.endswith("/v1") else f"{base}/v1"
    models = _models(base)
    if model is None and len(models) != 1:
        raise ConfigError(
            f"{url} has {len(models)} models: {', '.join(models) or 'none'}",
            hint="select the one that serves the same GGUF with --peer-model",
        )
    chosen = next(iter(models)) if model is None else model
    if chosen not in models:
        raise ConfigError(f"{url} has no model {chosen}", hint=f"it has: {', '.join(models)}")
    kind = ServerKind.LLAMA if models[chosen] == "llamacpp" else ServerKind.OTHER
    return _warm(BenchServer(base.removeprefix("http://").removesuffix("/v1"), kind, Endpoint(base, chosen)))


def free_port() -> int:
    """Return a TCP port of this machine that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment() -> dict[str, str]:
    """Return the environment without localrouter's variables, so that the defaults are measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LOCALROUTER_")}


def _models(base: str) -> dict[str, str]:
    """Return the `owned_by` of each model of a server, by id; llama-server reports `llamacpp`."""
    try:
        answer = httpx2.get(f"{base}/models", trust_env=False).raise_for_status().json()
        return {str(each["id"]): str(each.get("owned_by")) for each in answer["data"]}
    except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"{base}/models does not list any models: {reason or type(error).__name__}",
            hint="start the server first, and pass the URL that it prints",
        ) from None


def _wait(program: Program, look: Callable[[], Found | None]) -> Found:
    """Return the first value that `look` returns. Raises ProgramFailed when the program ends or on timeout."""
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
        return httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == httpx2.codes.OK
    except httpx2.HTTPError:
        return False


def _warm(server: BenchServer) -> BenchServer:
    """Send one request, so that the model is loaded. Raises ProgramFailed if it fails."""
    figures = load_generator.run(server.endpoint, [Dialogue(["Hello"], 8)])
    if figures.broken:
        output = server.program.last_words if server.program else ""
        raise ProgramFailed(f"{server.name} failed its first request: {figures.flaw}\n{output}".rstrip())
    return server

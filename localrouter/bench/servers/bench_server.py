"""Servers under test: ours and llama-server, started on a free port of this machine; or one that is running already."""

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
    """What a server is, as far as it decides how it is asked."""

    OURS = auto()
    LLAMA = auto()
    OTHER = auto()


@dataclass(frozen=True)
class BenchServer:
    """A server that answers. `program` is None where somebody else has started it."""

    name: str
    kind: ServerKind
    endpoint: Endpoint
    program: Program | None = None

    @property
    def memory(self) -> tuple[int, int] | None:
        """Bytes that the process which answers HTTP holds, and those of its workers together; None: not ours to see."""
        if self.program is None:
            return None
        return rss(self.program.process.pid), sum(rss(worker) for worker in self.program.workers)

    def fields(self, workload: Workload) -> Fields:
        """Return how this server is asked to sample in a workload."""
        return {ServerKind.OURS: workload.ours, ServerKind.LLAMA: workload.llama, ServerKind.OTHER: workload.others}[
            self.kind
        ]


@contextmanager
def localrouter(model: str | Path, *, threads: int | None = None) -> Iterator[BenchServer]:
    """Run `localrouter serve` with this model, a GGUF or `builtin:demo`, as a user would: with its defaults.

    It knows no other model, so the file may have any name.
    """
    command = [sys.executable, "-m", "localrouter", "serve", "--offline", "--port", "0", "--model", f"{ALIAS}={model}"]
    command += ["--threads", str(threads)] if threads else []
    with TemporaryDirectory() as folder:
        manifest = Path(folder) / "manifest.toml"
        manifest.write_text(NO_MODELS, encoding="utf-8")
        with running([*command, "--manifest", manifest], _environment()) as program:
            yield _answering(program)


def _answering(program: Program) -> BenchServer:
    found = _wait(program, lambda: re.search(r"base_url: (http://\S+)", program.said))
    return _warm(BenchServer("localrouter", ServerKind.OURS, Endpoint(found[1], ALIAS), program))


@contextmanager
def llama_server(peer: Peer, model: Path, cores: int) -> Iterator[BenchServer]:
    """Run llama-server with this model, all cores, and as many slots as the largest workload has streams."""
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
    """Return a server of this machine that somebody has started, with its one model or the one that is named.

    Raises ConfigError when it is not of this machine, cannot be asked for its models, or does not have this one.
    """
    require_loopback(url)
    base = url.rstrip("/")
    base = base if base.endswith("/v1") else f"{base}/v1"
    models = _models(base)
    if model is None and len(models) != 1:
        raise ConfigError(
            f"{url} has {len(models)} models: {', '.join(models) or 'none'}",
            hint="name the one that serves the same GGUF with --peer-model",
        )
    chosen = next(iter(models)) if model is None else model
    if chosen not in models:
        raise ConfigError(f"{url} has no model {chosen}", hint=f"it has: {', '.join(models)}")
    kind = ServerKind.LLAMA if models[chosen] == "llamacpp" else ServerKind.OTHER
    return _warm(BenchServer(base.removeprefix("http://").removesuffix("/v1"), kind, Endpoint(base, chosen)))


def free_port() -> int:
    """Return a port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment() -> dict[str, str]:
    """The environment without settings of localrouter: what is measured are its defaults."""
    return {name: value for name, value in os.environ.items() if not name.startswith("LOCALROUTER_")}


def _models(base: str) -> dict[str, str]:
    """Return who owns each model of a server, by its id; llama-server says `llamacpp`."""
    try:
        answer = httpx2.get(f"{base}/models", trust_env=False).raise_for_status().json()
        return {str(each["id"]): str(each.get("owned_by")) for each in answer["data"]}
    except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(
            f"{base}/models does not say which models there are: {reason or type(error).__name__}",
            hint="start the server first, and pass the address that it prints",
        ) from None


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
        return httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == httpx2.codes.OK
    except httpx2.HTTPError:
        return False


def _warm(server: BenchServer) -> BenchServer:
    """Have it answer once, so that its model is loaded."""
    figures = load_generator.run(server.endpoint, [Dialogue(["Hello"], 8)])
    if figures.broken:
        words = server.program.last_words if server.program else ""
        raise ProgramFailed(f"{server.name} cannot answer: {figures.flaw}\n{words}".rstrip())
    return server

"""Worker process: receives commands, steps the engine, and sends its events.

Started as `python -m localrouter.engine.ipc.worker FD` with one end of a socket pair. The worker ends on a Stop
command, and at once when the other end of the socket closes, so a killed parent leaves no worker behind.
"""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeAlias
from urllib.parse import parse_qsl

from localrouter.engine.backends.base import Backend, LoadError
from localrouter.engine.backends.echo import EchoBackend
from localrouter.engine.engine import Engine
from localrouter.engine.grammar.sandbox import WORKER_STACK
from localrouter.engine.ipc import wire
from localrouter.engine.messages import (
    Cancel,
    Command,
    Detokenize,
    Event,
    Finished,
    Generate,
    Load,
    LoadFailed,
    Loading,
    Ready,
    Report,
    Step,
    Stop,
    Tokenize,
    Tokens,
    TokenUsage,
)
from localrouter.engine.scheduling.sequence import Sequence

log = logging.getLogger(__name__)

_IDLE_SECONDS = 1.0
"""Seconds without a command after which idle work begins: a client sends the next turn of a conversation sooner."""
Arrival: TypeAlias = Load | Cancel | Stop | Sequence | Finished
"""A command, or what request preprocessing made of one."""


class Worker:
    """One engine that serves the commands of a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._preprocessing = threading.Lock()
        """Held while a request is preprocessed."""
        self._inbox: SimpleQueue[Arrival] = SimpleQueue()
        self._requests: SimpleQueue[Generate | Tokenize | Detokenize] = SimpleQueue()
        self._unqueued: set[int] = set()
        """Ids of requests that were received, and are not in the engine yet."""
        self._cancelled: set[int] = set()
        """Ids of these requests that were cancelled."""
        self._engine: Engine | None = None

    def run(self) -> None:
        """Load the model of the first command, then serve until Stop."""
        threading.stack_size(WORKER_STACK)
        for target in (self._read, self._preprocess_all):
            threading.Thread(target=target, daemon=True, name=target.__name__.strip("_")).start()
        load = self._inbox.get()
        assert isinstance(load, Load)
        try:
            backend = self._open(load, self._send)
        except LoadError as error:
            self._send(LoadFailed(str(error)))
            return
        self._engine = Engine(backend, load.options.step_ms / 1000)
        self._send(Ready(backend.info))
        self._serve(self._engine)
        self._preprocessing.acquire()  # never released: preprocessing would use a closed backend
        backend.close()

    def _serve(self, engine: Engine) -> None:
        """Apply commands, step the engine and send events until Stop. An idle engine waits without using the CPU."""
        while True:
            for arrival in self._arrived(wait=engine.is_idle, run_idle_work=engine.run_idle_work):
                if isinstance(arrival, Stop):
                    return
                events = self._apply(engine, arrival)
                if events:
                    self._send(Step(events, engine.gauge))
            events = engine.step()
            if events:
                self._send(Step(events, engine.gauge))

    def _arrived(self, *, wait: bool, run_idle_work: Callable[[], bool]) -> list[Arrival]:
        """Return the arrivals so far; with `wait` block for the first one, and run idle work meanwhile."""
        arrivals = [self._wait(run_idle_work)] if wait else []
        try:
            while True:
                arrivals.append(self._inbox.get_nowait())
        except Empty:
            return arrivals

    def _wait(self, run_idle_work: Callable[[], bool]) -> Arrival:
        """Return the next arrival. After `_IDLE_SECONDS` without one, idle work runs until there is no more of it."""
        timeout: float | None = _IDLE_SECONDS
        while True:
            try:
                return self._inbox.get(timeout=timeout)
            except Empty:
                timeout = 0.0 if run_idle_work() else None

    def _apply(self, engine: Engine, arrival: Arrival) -> list[Event]:
        if isinstance(arrival, Cancel):
            if arrival.id in self._unqueued:
                self._cancelled.add(arrival.id)
            return engine.cancel(arrival.id)
        assert isinstance(arrival, Sequence | Finished), f"unexpected {type(arrival).__name__}"
        self._unqueued.discard(arrival.id)
        events = [engine.enqueue(arrival)]
        if arrival.id in self._cancelled:
            self._cancelled.discard(arrival.id)
            events += engine.cancel(arrival.id)
        return events

    def _read(self) -> None:
        """Receive commands, in a thread of its own; the engine releases the GIL while llama.cpp computes."""
        incoming = wire.commands()
        try:
            while data := self._connection.recv(1 << 16):
                for command in incoming.feed(data):
                    self._route(command)
        except Exception:
            log.exception("the connection to the server cannot be read")
            self._exit(1)
        # The server is gone, and the main thread may be inside a long call of llama.cpp.
        self._exit(0)

    def _route(self, command: Command) -> None:
        if isinstance(command, Load | Cancel | Stop):
            self._inbox.put(command)
            return
        if isinstance(command, Generate):
            self._unqueued.add(command.id)
        self._requests.put(command)

    def _preprocess_all(self) -> None:
        """Preprocess requests in a thread of its own: it takes up to seconds, and the engine must not wait."""
        try:
            while True:
                command = self._requests.get()
                with self._preprocessing:
                    self._preprocess(command)
        except Exception:
            log.exception("preprocessing of request %d failed", command.id)
            self._exit(1)

    def _preprocess(self, command: Generate | Tokenize | Detokenize) -> None:
        assert self._engine is not None, "requests come after Ready"
        if not isinstance(command, Generate):
            self._send(_reply(self._engine.backend, command))
        elif command.id in self._cancelled:
            self._inbox.put(Finished(command.id, "cancelled", TokenUsage(0, 0)))
        else:
            self._inbox.put(self._engine.preprocessor.prepare(command))

    def _send(self, report: Report) -> None:
        with self._sending:
            self._connection.sendall(wire.frame(report))

    def _open(self, load: Load, on_loading: Callable[[Loading], None]) -> Backend:
        return open_backend(load, on_loading)

    def _exit(self, status: int) -> None:
        os._exit(status)


def open_backend(load: Load, on_loading: Callable[[Loading], None] = lambda _: None) -> Backend:
    """Return the loaded backend of a command; `on_loading` is called before weights are read. Raises LoadError."""
    if load.backend == "echo":
        return EchoBackend(load.options, **{name: float(value) for name, value in parse_qsl(load.path)})
    from localrouter.engine.backends.llama.backend import LlamaBackend  # noqa: PLC0415 - native code, only where it is needed

    return LlamaBackend(load.path, load.options, load.chat_template, load.fallbacks, on_loading)


def _reply(backend: Backend, command: Tokenize | Detokenize) -> Tokens:
    match command:
        case Tokenize(prompt=prompt, begin=begin):
            tokens = backend.tokenize(prompt, begin=begin)
        case Detokenize(tokens=tokens):
            pass
    return Tokens(command.id, tokens, [backend.text(token) for token in tokens])


def main() -> None:
    """Serve the socket whose file descriptor is the only argument."""
    # Ctrl-C and a service manager's SIGTERM reach the whole process group; the server decides when its workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(
        level=os.environ.get("LOCALROUTER_LOG_LEVEL", "info").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        Worker(connection).run()
        connection.shutdown(socket.SHUT_WR)
    os._exit(0)  # skips the interpreter's finalisation: native threads may still run


if __name__ == "__main__":
    main()

"""Worker process: receives commands, steps the engine, and sends the events.

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
from localrouter.engine.grammar.sandbox import ROOM
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

_MOMENT = 1.0
"""Seconds: a program that talks sends its next turn sooner, and should not wait for work that can wait."""
Arrival: TypeAlias = Load | Cancel | Stop | Sequence | Finished
"""A command, or what request preprocessing made of one."""


class Worker:
    """One engine, fed from a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._taking = threading.Lock()
        """Held while a request is taken in."""
        self._inbox: SimpleQueue[Arrival] = SimpleQueue()
        self._requests: SimpleQueue[Generate | Tokenize | Detokenize] = SimpleQueue()
        self._coming: set[int] = set()
        """Requests that were read, and that the engine has not been given yet."""
        self._gone: set[int] = set()
        """Those of them that nobody waits for any more."""
        self._engine: Engine | None = None

    def run(self) -> None:
        """Load what the first command says, then serve until Stop."""
        threading.stack_size(ROOM)
        for target in (self._read, self._take_in):
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
        self._taking.acquire()  # for good: whatever is taken in from now on would use a backend that is closed
        backend.close()

    def _serve(self, engine: Engine) -> None:
        """Take what has arrived, step, send, until told to stop. An idle engine waits without using the CPU."""
        while True:
            for arrival in self._arrived(wait=engine.is_idle, run_idle_work=engine.run_idle_work):
                if isinstance(arrival, Stop):
                    return
                events = self._obey(engine, arrival)
                if events:
                    self._send(Step(events, engine.gauge))
            events = engine.step()
            if events:
                self._send(Step(events, engine.gauge))

    def _arrived(self, *, wait: bool, run_idle_work: Callable[[], bool]) -> list[Arrival]:
        """What has arrived by now, or as soon as something does. Who waits for longer than a moment may `rest`."""
        arrivals = [self._wait(run_idle_work)] if wait else []
        try:
            while True:
                arrivals.append(self._inbox.get_nowait())
        except Empty:
            return arrivals

    def _wait(self, run_idle_work: Callable[[], bool]) -> Arrival:
        """Block until something arrives. After a moment `rest` is called for as long as it finds something to do."""
        timeout: float | None = _MOMENT
        while True:
            try:
                return self._inbox.get(timeout=timeout)
            except Empty:
                timeout = 0.0 if run_idle_work() else None

    def _obey(self, engine: Engine, arrival: Arrival) -> list[Event]:
        if isinstance(arrival, Cancel):
            if arrival.id in self._coming:
                self._gone.add(arrival.id)
            return engine.cancel(arrival.id)
        assert isinstance(arrival, Sequence | Finished), f"{type(arrival).__name__} out of place"
        self._coming.discard(arrival.id)
        events = [engine.enqueue(arrival)]
        if arrival.id in self._gone:
            self._gone.discard(arrival.id)
            events += engine.cancel(arrival.id)
        return events

    def _read(self) -> None:
        """Pass commands on. Runs beside the engine, which gives up the GIL while llama.cpp computes."""
        incoming = wire.commands()
        try:
            while data := self._connection.recv(1 << 16):
                for command in incoming.feed(data):
                    self._pass_on(command)
        except Exception:
            log.exception("the connection to the server cannot be read any more")
            self._leave(1)
        # Nobody is left to answer to, and the main thread may be deep inside llama.cpp.
        self._leave(0)

    def _pass_on(self, command: Command) -> None:
        if isinstance(command, Load | Cancel | Stop):
            self._inbox.put(command)
            return
        if isinstance(command, Generate):
            self._coming.add(command.id)
        self._requests.put(command)

    def _take_in(self) -> None:
        """Tokenize prompts and compile grammars. Both can take a second; neither streams nor cancels should wait."""
        try:
            while True:
                command = self._requests.get()
                with self._taking:
                    self._take(command)
        except Exception:
            log.exception("a request cannot be taken in")
            self._leave(1)

    def _take(self, command: Generate | Tokenize | Detokenize) -> None:
        assert self._engine is not None, "requests come after Ready"
        if not isinstance(command, Generate):
            self._send(_tokens(self._engine.backend, command))
        elif command.id in self._gone:
            self._inbox.put(Finished(command.id, "cancelled", TokenUsage(0, 0)))
        else:
            self._inbox.put(self._engine.preprocessor.prepare(command))

    def _send(self, report: Report) -> None:
        with self._sending:
            self._connection.sendall(wire.frame(report))

    def _open(self, load: Load, on_loading: Callable[[Loading], None]) -> Backend:
        return open_backend(load, on_loading)

    def _leave(self, status: int) -> None:
        os._exit(status)


def open_backend(load: Load, on_loading: Callable[[Loading], None] = lambda _: None) -> Backend:
    """Return the backend that the command asks for, after `on_loading` was called with what it loads with.

    Raises LoadError.
    """
    if load.backend == "echo":
        return EchoBackend(load.options, **{name: float(value) for name, value in parse_qsl(load.path)})
    from localrouter.engine.backends.llama.backend import LlamaBackend  # noqa: PLC0415 - native code, only where it is needed

    return LlamaBackend(load.path, load.options, load.chat_template, load.fallbacks, on_loading)


def _tokens(backend: Backend, command: Tokenize | Detokenize) -> Tokens:
    match command:
        case Tokenize(prompt=prompt, begin=begin):
            tokens = backend.tokenize(prompt, begin=begin)
        case Detokenize(tokens=tokens):
            pass
    return Tokens(command.id, tokens, [backend.text(token) for token in tokens])


def main() -> None:
    """Serve the socket whose descriptor is the only argument."""
    # Ctrl-C, and a service manager's SIGTERM, reach the whole group; the server decides when its workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    logging.basicConfig(
        level=os.environ.get("LOCALROUTER_LOG_LEVEL", "info").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        Worker(connection).run()
        connection.shutdown(socket.SHUT_WR)
    os._exit(0)  # without the interpreter's farewell: native threads may still spin


if __name__ == "__main__":
    main()

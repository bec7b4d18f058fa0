"""The child side of the process border: receives commands, steps the engine, sends what happened.

Started as `python -m localrouter.engine.worker FD` with one end of a socket pair. It ends when it is told to, and at
once when the other end of the socket is gone: a killed parent leaves no worker behind.
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

from localrouter.engine import wire
from localrouter.engine.backend import Backend, LoadError
from localrouter.engine.echo import EchoBackend
from localrouter.engine.engine import Engine
from localrouter.engine.messages import Cancel, Command, Event, Generate, Load, LoadFailed, Ready, Report, Step, Stop

log = logging.getLogger(__name__)

_MOMENT = 1.0
"""Seconds: a program that talks sends its next turn sooner, and should not wait for work that can wait."""
Arrival: TypeAlias = tuple[Command, list[int]]
"""A command, and for a Generate the tokens of its prompt."""


class Worker:
    """One engine, fed from a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._inbox: SimpleQueue[Arrival] = SimpleQueue()
        self._backend: Backend | None = None

    def run(self) -> None:
        """Load what the first command says, then serve until Stop."""
        threading.Thread(target=self._read, daemon=True, name="reader").start()
        load, _ = self._inbox.get()
        assert isinstance(load, Load)
        try:
            self._backend = open_backend(load)
        except LoadError as error:
            self._send(LoadFailed(str(error)))
            return
        self._send(Ready(self._backend.info))
        self._serve(Engine(self._backend, load.options.step_ms / 1000))
        self._backend.close()

    def _serve(self, engine: Engine) -> None:
        """Take what has arrived, step, send, until told to stop. An idle engine waits without using the CPU."""
        while True:
            for command, tokens in self._arrived(wait=engine.is_idle, rest=engine.rest):
                if isinstance(command, Stop):
                    return
                events = _obey(engine, command, tokens)
                if events:
                    self._send(Step(events, engine.gauge))
            events = engine.step()
            if events:
                self._send(Step(events, engine.gauge))

    def _arrived(self, *, wait: bool, rest: Callable[[], bool]) -> list[Arrival]:
        """What has arrived by now, or as soon as something does. Who waits for longer than a moment may `rest`."""
        arrivals = [self._wait(rest)] if wait else []
        try:
            while True:
                arrivals.append(self._inbox.get_nowait())
        except Empty:
            return arrivals

    def _wait(self, rest: Callable[[], bool]) -> Arrival:
        """Block until something arrives. After a moment `rest` is called for as long as it finds something to do."""
        timeout: float | None = _MOMENT
        while True:
            try:
                return self._inbox.get(timeout=timeout)
            except Empty:
                timeout = 0.0 if rest() else None

    def _read(self) -> None:
        """Fill the inbox. Runs beside the engine, which gives up the GIL while llama.cpp computes.

        Prompts are tokenized here: a megabyte of text takes a second, and running streams should not wait for it.
        """
        incoming = wire.commands()
        try:
            while data := self._connection.recv(1 << 16):
                for command in incoming.feed(data):
                    self._inbox.put((command, self._tokens_of(command)))
        except Exception:
            log.exception("the connection to the server cannot be read any more")
            os._exit(1)
        # Nobody is left to answer to, and the main thread may be deep inside llama.cpp.
        os._exit(0)

    def _tokens_of(self, command: Command) -> list[int]:
        if not isinstance(command, Generate):
            return []
        assert self._backend is not None, "requests come after Ready"
        return self._backend.tokenize(command.prompt)

    def _send(self, report: Report) -> None:
        self._connection.sendall(wire.frame(report))


def open_backend(load: Load) -> Backend:
    """Return the backend that the command asks for. Raises LoadError."""
    if load.backend == "echo":
        return EchoBackend(load.options, **{name: float(value) for name, value in parse_qsl(load.path)})
    from localrouter.engine.llama.backend import LlamaBackend  # noqa: PLC0415 - native code, only where it is needed

    return LlamaBackend(load.path, load.options)


def _obey(engine: Engine, command: Command, tokens: list[int]) -> list[Event]:
    if isinstance(command, Generate):
        return [engine.enqueue(command, tokens)]
    if isinstance(command, Cancel):
        return engine.cancel(command.id)
    raise AssertionError(f"{type(command).__name__} out of place")


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

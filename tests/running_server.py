"""`localrouter serve` in a real process, and what a test asks of it."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
import psutil

READY = re.compile(r"base_url: (\S+)")
PATIENCE = 60
"""Seconds after which a server that has not come up, or gone down, fails the test."""


@dataclass
class RunningServer:
    """`localrouter serve` in a process of its own. `base_url` ends in /v1."""

    process: subprocess.Popen[str]
    base_url: str = ""
    log: list[str] = field(default_factory=list)
    _clients: list[openai.OpenAI] = field(default_factory=list)
    _ready: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()
        assert self._ready.wait(PATIENCE), "the server never said that it is ready"
        assert self.base_url, "".join(self.log)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            found = READY.search(line)
            if found:
                self.base_url = found[1]
                self._ready.set()
        self._ready.set()

    def get(self, path: str) -> Any:
        """Return the JSON of a path below the server's root."""
        return httpx.get(self.base_url.removesuffix("/v1") + path, timeout=PATIENCE).raise_for_status().json()

    def engine(self, model: str) -> Any:
        """Return what the health route says of a loaded model."""
        return next(each for each in self.get("/health/ready")["models"] if each["model"] == model)

    def client(self, **options: Any) -> openai.OpenAI:
        """Return the SDK's client for this server; it never tries again by itself."""
        client = openai.OpenAI(base_url=self.base_url, api_key="local", max_retries=0, **options)
        self._clients.append(client)
        return client

    def close_clients(self) -> None:
        """Close the connections of all clients that were handed out."""
        for client in self._clients:
            client.close()

    def children(self) -> list[psutil.Process]:
        """The processes that the server has started: its workers, and what renders prompts."""
        return psutil.Process(self.process.pid).children()

    def workers(self) -> list[psutil.Process]:
        """The processes of the models that are loaded."""
        return [child for child in self.children() if "localrouter.engine.ipc.worker" in child.cmdline()]

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(signal_number)
        return self.process.wait(PATIENCE)


@contextmanager
def serving(*arguments: str, **environment: str) -> Iterator[RunningServer]:
    """Run a server on a free port of loopback, and end it with everything that it started."""
    process = subprocess.Popen(
        [sys.executable, "-m", "localrouter", "serve", "--port", "0", *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("LOCALROUTER_")} | environment,
    )
    try:
        with process:
            try:
                server = RunningServer(process)
                yield server
                server.close_clients()
            finally:
                if process.poll() is None:
                    process.terminate()
                    try:
                        process.wait(PATIENCE)
                    except subprocess.TimeoutExpired:
                        process.kill()
    finally:
        assert process.returncode is not None

"""The server: its socket, when it is ready, and how it stops."""

import asyncio
import errno
import math
import os
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn
from litestar import Litestar

from localrouter.api.http_protocol import http_protocol
from localrouter.api.service import service_of
from localrouter.config import Settings
from localrouter.errors import ConfigError

BACKLOG = 2048
KEEP_IDLE = 75
"""Seconds that an idle connection stays open: longer than clients keep theirs, so none writes into one that closes."""
LAST_WORDS = 5
"""Seconds after the grace in which streams that are ended may send their error."""
INTERRUPTED = 130
"""The exit status after Ctrl-C."""


class GracefulServer(uvicorn.Server):
    """Calls back when it is ready; when stopped, lets requests finish within the grace, then ends the others."""

    def __init__(self, app: Litestar, settings: Settings, on_ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=http_protocol(),
                log_config=None,
                access_log=False,
                lifespan="on",
                ws="none",
                proxy_headers=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_IDLE,
                timeout_graceful_shutdown=math.ceil(settings.grace) + LAST_WORDS,
            )
        )
        self.stopped_by: int | None = None
        self._service = service_of(app.state)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting, then say so."""
        await super().startup(sockets)
        if self.started:
            await asyncio.to_thread(self._on_ready)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting; requests that still run after the grace end with ShuttingDown."""
        self._service.accepting = False
        ending = asyncio.create_task(self._end_after_grace())
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()

    async def _end_after_grace(self) -> None:
        await asyncio.sleep(self._service.settings.grace)
        await self._service.close()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop at the first signal; a second Ctrl-C means now. Workers see the connection close and leave."""
        if self.should_exit and sig == signal.SIGINT:
            os._exit(INTERRUPTED)
        self.stopped_by = sig
        self.should_exit = True


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises ConfigError when the address cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError):  # a name with an empty label is the latter
        raise ConfigError(f"--host {host}: no such host", hint="use an address of this machine") from None
    try:
        if sys.platform != "win32":  # there it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _cannot_bind(host, port, error) from None
    return listener


def _cannot_bind(host: str, port: int, error: OSError) -> ConfigError:
    match error.errno:
        case errno.EADDRINUSE:
            return ConfigError(f"port {port} is in use", hint="stop the other server, or choose another with --port")
        case errno.EACCES:
            return ConfigError(f"port {port} is not allowed for this user", hint="choose one above 1023 with --port")
        case errno.EADDRNOTAVAIL:
            return ConfigError(f"--host {host}: not an address of this machine", hint="use 127.0.0.1")
    return ConfigError(f"cannot bind {host}:{port}: {error.strerror}")


def base_url(listener: socket.socket) -> str:
    """Return the base URL for clients on this machine."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"

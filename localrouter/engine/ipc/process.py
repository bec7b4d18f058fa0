"""Worker process as its parent sees it: started, loaded, stopped."""

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from localrouter.engine.ipc import wire
from localrouter.engine.messages import Load, LoadFailed, Loading, Ready, Report, Stop
from localrouter.engine.model_info import ModelInfo
from localrouter.errors import ModelLoadFailed, OffloadFailed

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0
"""Seconds that a worker has to end after Stop before it is killed; a step in llama.cpp cannot be interrupted."""


@dataclass
class WorkerProcess:
    """A running worker with a loaded model, and the streams to it."""

    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    incoming: wire.Unframer[Report]
    info: ModelInfo

    @classmethod
    async def start(
        cls,
        load: Load,
        *,
        timeout: float,  # noqa: ASYNC109 - a limit that the caller's task outlives
        on_loading: Callable[[Loading], None] = lambda _: None,
    ) -> Self:
        """Start a worker and return it once its model is loaded.

        Raises ModelLoadFailed when the model cannot be loaded, the worker dies, or takes longer than `timeout` seconds;
        OffloadFailed when that happens with layers on a GPU, after `on_loading` was called. No process is left when the
        caller is cancelled meanwhile.
        """
        process, reader, writer = await _spawn()
        incoming, start = wire.reports(), _Start(on_loading)
        try:
            writer.write(wire.frame(load))
            info = await asyncio.wait_for(start.ready(reader, incoming), timeout)
        except BaseException as error:
            writer.close()
            await _end(process, 0)
            if isinstance(error, TimeoutError):
                raise start.failure(f"The model did not load within {timeout:g} seconds.", crashed=True) from error
            if isinstance(error, EOFError | OSError | wire.WireError):  # OSError where it died before it read anything
                message = f"The worker {_fate(process)} while it loaded the model."
                raise start.failure(message, crashed=is_crash(process.returncode)) from error
            raise
        return cls(process, reader, writer, incoming, info)

    @property
    def has_crashed(self) -> bool:
        """Whether the worker ended by a fault of its own."""
        return is_crash(self.process.returncode)

    async def stop(self) -> None:
        """Stop the worker; it is killed if it does not end within `STOP_SECONDS`."""
        if self.process.returncode is None and not self.writer.is_closing():
            self.writer.write(wire.frame(Stop()))
        await _end(self.process, STOP_SECONDS)
        self.writer.close()

    @property
    def fate(self) -> str:
        """End of the worker in words, such as "was ended by signal 11"."""
        return _fate(self.process)


async def _spawn() -> tuple[asyncio.subprocess.Process, asyncio.StreamReader, asyncio.StreamWriter]:
    ours, theirs = socket.socketpair()
    environment = os.environ | {
        "GGML_NO_BACKTRACE": "1",  # an abort in ggml would start a debugger
        "OPENBLAS_NUM_THREADS": "1",  # numpy's threads would compete with llama.cpp's
        "PYTHONUNBUFFERED": "1",
    }
    with theirs:
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "localrouter.engine.ipc.worker", str(theirs.fileno())),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                env=environment,
            )
        except BaseException:
            ours.close()
            raise
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    return process, reader, writer


class _Start:
    """Start of a worker: its reports until the model is loaded."""

    def __init__(self, on_loading: Callable[[Loading], None]) -> None:
        self._on_loading = on_loading
        self._offloads = False

    async def ready(self, reader: asyncio.StreamReader, incoming: wire.Unframer[Report]) -> ModelInfo:
        """Return the facts about the loaded model. Raises ModelLoadFailed, or EOFError when the worker dies."""
        while data := await reader.read(1 << 16):
            for report in incoming.feed(data):
                if isinstance(report, Ready):
                    return report.info
                if isinstance(report, LoadFailed):
                    raise self.failure(report.message, crashed=False)
                if isinstance(report, Loading):
                    self._offloads = report.device.offloaded_layers > 0
                    self._on_loading(report)
        raise EOFError

    def failure(self, message: str, *, crashed: bool) -> ModelLoadFailed:
        """Return the error of a start that failed."""
        return OffloadFailed(message, crashed=crashed) if self._offloads else ModelLoadFailed(message)


def is_crash(status: int | None) -> bool:
    """Whether a process with this exit status ended by a fault of its own, and not by a signal from outside."""
    return status is not None and status < 0 and -status not in {signal.SIGKILL, signal.SIGTERM, signal.SIGINT}


async def _end(process: asyncio.subprocess.Process, patience: float) -> None:
    """Wait `patience` seconds for the end of the process, then kill it; it is reaped in any case."""
    try:
        await asyncio.wait_for(process.wait(), patience)
    except TimeoutError:
        with suppress(ProcessLookupError):  # it may have just ended by itself
            process.kill()
        await process.wait()
    log.debug("worker %d %s", process.pid, _fate(process))


def _fate(process: asyncio.subprocess.Process) -> str:
    code = process.returncode
    if code is None:
        return "runs"
    return f"was ended by signal {-code}" if code < 0 else f"exited with status {code}"

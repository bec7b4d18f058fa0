"""Parent side of a worker: sends requests, gives each caller its events, and ends every request exactly once."""

import asyncio
import itertools
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable

from localrouter.engine.generation_request import GenerationRequest, Segment
from localrouter.engine.ipc import wire
from localrouter.engine.ipc.process import WorkerProcess
from localrouter.engine.messages import (
    Accepted,
    Cancel,
    Detokenize,
    Event,
    Finished,
    Gauge,
    Generate,
    Report,
    Step,
    Tokenize,
    Tokens,
    TokenUsage,
)
from localrouter.engine.model_info import ModelInfo
from localrouter.errors import (
    ContextLengthExceeded,
    EngineFailed,
    InvalidRequest,
    LocalrouterError,
    Overloaded,
    ShuttingDown,
)

log = logging.getLogger(__name__)


class WorkerGeneration:
    """One request in a worker: its events, and the way to cancel it."""

    def __init__(self, context: int, cancel: Callable[[], None]) -> None:
        self._context = context
        self._cancel = cancel
        self._events: list[Event] = []
        self._arrived = asyncio.Event()
        self.ended = False

    def put(self, event: Event) -> None:
        """Add an event; a Finished is the last one."""
        self._events.append(event)
        self.ended = isinstance(event, Finished)
        self._arrived.set()

    async def accepted(self) -> int:
        """Return the number of prompt tokens once the request is queued. Raises the error of a rejected request."""
        await self._arrived.wait()
        first = self._events[0]
        if isinstance(first, Accepted):
            del self._events[0]
            if not self._events:
                self._arrived.clear()
            return first.prompt_tokens
        assert isinstance(first, Finished)
        raise _error_of(first, self._context)

    async def events(self) -> AsyncGenerator[list[Event], None]:
        """Yield the events since the last iteration; the Finished ends the iteration."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            events, self._events = self._events, []
            yield events
            if events and isinstance(events[-1], Finished):
                return

    def cancel(self) -> None:
        """End the request and free its memory. Does nothing when it has ended."""
        if not self.ended:
            self._cancel()


class EngineClient:
    """A loaded model in its worker process."""

    def __init__(
        self,
        model: str,
        worker: WorkerProcess,
        *,
        max_queue: int,
        on_early_crash: Callable[[str], object] = lambda _: None,
    ) -> None:
        """`model` is the full name of the build; `max_queue` requests may wait beside those being computed.

        `on_early_crash` is called with the exit status in words of a worker that crashes before it completed a request.
        """
        self._on_early_crash = on_early_crash
        self._has_completed = False
        self.model = model
        self.gauge = Gauge()
        self._worker = worker
        self._max_in_flight = worker.info.max_sequences + max_queue
        self._ids = itertools.count(1)
        self._generations: dict[int, WorkerGeneration] = {}
        self._queries: dict[int, asyncio.Future[Tokens]] = {}
        self._rate = CompletionRate()
        self._closing = False
        self._ended = asyncio.Event()
        self._reading = asyncio.create_task(self._read(), name=f"reports of {model}")

    @property
    def info(self) -> ModelInfo:
        """Facts about the model, as the worker reported them."""
        return self._worker.info

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._worker.process.pid

    @property
    def in_flight(self) -> int:
        """Number of requests that have not ended yet."""
        return len(self._generations)

    @property
    def is_alive(self) -> bool:
        """Whether requests can be submitted."""
        return not self._ended.is_set() and not self._closing

    def submit(self, request: GenerationRequest) -> WorkerGeneration:
        """Send a request to the worker. Raises Overloaded when the queue is full, and EngineFailed."""
        self._ensure_alive()
        if self.in_flight >= self._max_in_flight:
            waiting = self.in_flight - self.info.max_sequences
            raise Overloaded(
                f"{self.in_flight} requests are running or waiting for this model already.",
                retry_after=self._rate.seconds_for(waiting, time.monotonic()),
            )
        number = next(self._ids)
        frame = wire.frame(Generate(number, request))  # before any state: a request may be too large to send
        generation = WorkerGeneration(self.info.context, lambda: self._send(wire.frame(Cancel(number))))
        self._generations[number] = generation
        self._rate.began(time.monotonic())
        self._send(frame)
        return generation

    async def tokenize(self, prompt: list[Segment], begin: bool = True) -> Tokens:
        """Return the tokens of a text, with `begin` the begin-of-text token included where the model wants one.

        Raises EngineFailed.
        """
        return await self._query(Tokenize(next(self._ids), prompt, begin))

    async def detokenize(self, tokens: list[int]) -> Tokens:
        """Return the bytes of these tokens. Raises InvalidRequest for one outside the vocabulary, and EngineFailed."""
        for token in tokens:
            if not 0 <= token < self.info.vocabulary:
                message = f"{token} is no token of this model, whose last is {self.info.vocabulary - 1}."
                raise InvalidRequest(message, param="tokens")
        return await self._query(Detokenize(next(self._ids), tokens))

    async def _query(self, command: Tokenize | Detokenize) -> Tokens:
        self._ensure_alive()
        frame = wire.frame(command)
        reply: asyncio.Future[Tokens] = asyncio.get_running_loop().create_future()
        self._queries[command.id] = reply
        self._send(frame)
        try:
            return await reply
        finally:
            self._queries.pop(command.id, None)

    def _ensure_alive(self) -> None:
        if not self.is_alive:
            raise EngineFailed("The engine of this model has just ended; try again.")

    async def close(self) -> None:
        """Stop the worker; requests that still run end with an error."""
        self._closing = True
        await self._worker.stop()
        await self._reading

    def _send(self, frame: bytes) -> None:
        if not self._ended.is_set():
            self._worker.writer.write(frame)

    async def _read(self) -> None:
        """Dispatch the worker's reports until its end, then end all requests that are left."""
        worker = self._worker
        try:
            while data := await worker.reader.read(1 << 18):
                for report in worker.incoming.feed(data):
                    self._receive(report)
        except (OSError, wire.WireError) as error:
            log.error("%s: the connection to its worker broke: %s", self.model, error)
        finally:
            self._ended.set()
            self.gauge = Gauge()
            self._end_all()
        await worker.stop()
        if not self._closing:
            log.error("%s: its worker %s", self.model, worker.fate)
            if worker.has_crashed and not self._has_completed:
                self._on_early_crash(worker.fate)

    def _receive(self, report: Report) -> None:
        if isinstance(report, Step):
            self._dispatch(report)
        elif isinstance(report, Tokens) and (reply := self._queries.get(report.id)) and not reply.done():
            reply.set_result(report)

    def _dispatch(self, step: Step) -> None:
        self.gauge = step.gauge
        for event in step.events:
            generation = self._generations.get(event.id)
            if generation is None:
                continue
            if isinstance(event, Finished):
                del self._generations[event.id]
                self._has_completed |= event.reason in {"stop", "length"}
                self._rate.ended(time.monotonic(), idle=not self._generations)
            generation.put(event)

    def _end_all(self) -> None:
        """End all requests and queries with an error: each request gets its one Finished."""
        code = ShuttingDown.code if self._closing else EngineFailed.code
        message = "The server is shutting down." if self._closing else "The model's worker died; try again."
        generations, self._generations = self._generations, {}
        for number, generation in generations.items():
            generation.put(Finished(number, "error", TokenUsage(0, 0), code, message))
        for reply in self._queries.values():
            if not reply.done():
                reply.set_exception(ShuttingDown(message) if self._closing else EngineFailed(message))


class CompletionRate:
    """Rate at which requests end, measured while some run. Times are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._busy_since: float | None = None
        self._ended = 0

    def began(self, now: float) -> None:
        """Note that a request was submitted."""
        if self._busy_since is None:
            self._busy_since, self._ended = now, 0

    def ended(self, now: float, *, idle: bool) -> None:
        """Note that a request ended; `idle`: it was the last one."""
        self._ended += 1
        if idle:
            self._busy_since = None

    def seconds_for(self, waiting: int, now: float) -> int:
        """Return the seconds that `waiting` requests take at this rate, 1 to 3600.

        Before a request has ended, the rate is one in the time since the first began.
        """
        busy = now - (now if self._busy_since is None else self._busy_since)
        return min(3600, max(1, math.ceil(waiting * busy / max(self._ended, 1))))


def _error_of(finished: Finished, context: int) -> LocalrouterError:
    """Return the error of a request that the worker rejected."""
    message = finished.message or "The engine refused the request."
    if finished.code == ContextLengthExceeded.code:
        return ContextLengthExceeded(finished.usage.prompt_tokens, context)
    if finished.code == "empty_prompt":
        return InvalidRequest(message, param="messages", code=finished.code)
    if finished.code == "invalid_grammar":
        return InvalidRequest(message, code=finished.code)
    if finished.code == ShuttingDown.code:
        return ShuttingDown(message)
    return EngineFailed(message, code=finished.code)

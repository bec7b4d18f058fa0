"""The parent side of a worker: hands requests in, gives each caller its events, and keeps the promise of one end."""

import asyncio
import itertools
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable

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
    GenerationRequest,
    Report,
    Segment,
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
    """One request inside a worker, as its caller sees it."""

    def __init__(self, context: int, cancel: Callable[[], None]) -> None:
        self._context = context
        self._cancel = cancel
        self._events: list[Event] = []
        self._arrived = asyncio.Event()
        self.ended = False

    def put(self, event: Event) -> None:
        """Hand over an event; none comes after a Finished."""
        self._events.append(event)
        self.ended = isinstance(event, Finished)
        self._arrived.set()

    async def accepted(self) -> int:
        """Return the prompt's tokens once the worker took it. Raises what it refused it with."""
        await self._arrived.wait()
        first = self._events[0]
        if isinstance(first, Accepted):
            del self._events[0]
            self._arrived.clear() if not self._events else None
            return first.prompt_tokens
        assert isinstance(first, Finished)
        raise _refusal(first, self._context)

    async def events(self) -> AsyncGenerator[list[Event], None]:
        """Yield what happened since the last look, and end after the Finished."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            events, self._events = self._events, []
            yield events
            if events and isinstance(events[-1], Finished):
                return

    def cancel(self) -> None:
        """Free what the request holds. Does nothing when it has ended."""
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

        `on_early_crash` is called with the fate of a worker that crashes before it has answered any request.
        """
        self._on_early_crash = on_early_crash
        self._has_answered = False
        self.model = model
        self.gauge = Gauge()
        self._worker = worker
        self._bound = worker.info.max_sequences + max_queue
        self._ids = itertools.count(1)
        self._generations: dict[int, WorkerGeneration] = {}
        self._questions: dict[int, asyncio.Future[Tokens]] = {}
        self._pace = CompletionRate()
        self._closing = False
        self._ended = asyncio.Event()
        self._reading = asyncio.create_task(self._read(), name=f"reports of {model}")

    @property
    def info(self) -> ModelInfo:
        """What the worker said of its model."""
        return self._worker.info

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._worker.process.pid

    @property
    def in_flight(self) -> int:
        """Requests that have not ended yet."""
        return len(self._generations)

    @property
    def is_alive(self) -> bool:
        """Whether requests can be handed in."""
        return not self._ended.is_set() and not self._closing

    def submit(self, request: GenerationRequest) -> WorkerGeneration:
        """Send a request to the worker. Raises Overloaded when the queue is full, and EngineFailed."""
        self._ensure_alive()
        if self.in_flight >= self._bound:
            waiting = self.in_flight - self.info.max_sequences
            raise Overloaded(
                f"{self.in_flight} requests are running or waiting for this model already.",
                retry_after=self._pace.seconds_for(waiting, time.monotonic()),
            )
        number = next(self._ids)
        frame = wire.frame(Generate(number, request))  # before any state: a request may be too large to send
        generation = WorkerGeneration(self.info.context, lambda: self._send(wire.frame(Cancel(number))))
        self._generations[number] = generation
        self._pace.began(time.monotonic())
        self._send(frame)
        return generation

    async def tokenize(self, prompt: list[Segment], begin: bool = True) -> Tokens:
        """Return the tokens of a text, with `begin` the one that begins a text included, where the model wants one.

        Raises EngineFailed.
        """
        return await self._ask(Tokenize(next(self._ids), prompt, begin))

    async def detokenize(self, tokens: list[int]) -> Tokens:
        """Return what these tokens stand for. Raises InvalidRequest for numbers that are none, and EngineFailed."""
        for token in tokens:
            if not 0 <= token < self.info.vocabulary:
                message = f"{token} is no token of this model, whose last is {self.info.vocabulary - 1}."
                raise InvalidRequest(message, param="tokens")
        return await self._ask(Detokenize(next(self._ids), tokens))

    async def _ask(self, command: Tokenize | Detokenize) -> Tokens:
        self._ensure_alive()
        frame = wire.frame(command)
        answer: asyncio.Future[Tokens] = asyncio.get_running_loop().create_future()
        self._questions[command.id] = answer
        self._send(frame)
        try:
            return await answer
        finally:
            self._questions.pop(command.id, None)

    def _ensure_alive(self) -> None:
        if not self.is_alive:
            raise EngineFailed("The engine of this model has just ended; try again.")

    async def close(self) -> None:
        """End the worker; requests that still run end with an error."""
        self._closing = True
        await self._worker.stop()
        await self._reading

    def _send(self, frame: bytes) -> None:
        if not self._ended.is_set():
            self._worker.writer.write(frame)

    async def _read(self) -> None:
        """Dispatch what the worker reports until it is gone, then end whatever is left."""
        worker = self._worker
        try:
            while data := await worker.reader.read(1 << 18):
                for report in worker.incoming.feed(data):
                    self._hear(report)
        except (OSError, wire.WireError) as error:
            log.error("the connection to the worker of %s broke: %s", self.model, error)
        finally:
            self._ended.set()
            self.gauge = Gauge()
            self._abandon()
        await worker.stop()
        if not self._closing:
            log.error("the worker of %s %s", self.model, worker.fate)
            if worker.has_crashed and not self._has_answered:
                self._on_early_crash(worker.fate)

    def _hear(self, report: Report) -> None:
        if isinstance(report, Step):
            self._dispatch(report)
        elif isinstance(report, Tokens) and (answer := self._questions.get(report.id)) and not answer.done():
            answer.set_result(report)

    def _dispatch(self, step: Step) -> None:
        self.gauge = step.gauge
        for event in step.events:
            generation = self._generations.get(event.id)
            if generation is None:
                continue
            if isinstance(event, Finished):
                del self._generations[event.id]
                self._has_answered |= event.reason in {"stop", "length"}
                self._pace.ended(time.monotonic(), idle=not self._generations)
            generation.put(event)

    def _abandon(self) -> None:
        """End what can get no answer any more. The promise is one Finished each, also now."""
        code = ShuttingDown.code if self._closing else EngineFailed.code
        message = "The server is shutting down." if self._closing else "The model's worker died; try again."
        generations, self._generations = self._generations, {}
        for number, generation in generations.items():
            generation.put(Finished(number, "error", TokenUsage(0, 0), code, message))
        for answer in self._questions.values():
            if not answer.done():
                answer.set_exception(ShuttingDown(message) if self._closing else EngineFailed(message))


class CompletionRate:
    """How fast requests end, measured while there are any. Times are in seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._busy_since: float | None = None
        self._ended = 0

    def began(self, now: float) -> None:
        """A request was handed in."""
        if self._busy_since is None:
            self._busy_since, self._ended = now, 0

    def ended(self, now: float, *, idle: bool) -> None:
        """A request ended; `idle` when it was the last."""
        self._ended += 1
        if idle:
            self._busy_since = None

    def seconds_for(self, waiting: int, now: float) -> int:
        """Return the seconds after which `waiting` requests will have had their turn at this pace, at least 1.

        Before the first has ended, the time since the first began counts for one.
        """
        busy = now - (now if self._busy_since is None else self._busy_since)
        return min(3600, max(1, math.ceil(waiting * busy / max(self._ended, 1))))


def _refusal(finished: Finished, context: int) -> LocalrouterError:
    """Return the error that a refused request is answered with."""
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

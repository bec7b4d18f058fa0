"""The engine: requests join and leave between steps, and each step computes one batch for all of them."""

import logging
import time
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from localrouter.engine.backends.base import Backend, BatchRefused, CacheFull
from localrouter.engine.grammar.constraint import GrammarFailed
from localrouter.engine.kv_cache.operations import Clear, Discard, Forget, Fork, Operation, Restore, Store
from localrouter.engine.messages import Accepted, Event, Finished, FinishReason, Gauge, Generate, Logprob, Piece
from localrouter.engine.output.output import OutputSpan
from localrouter.engine.preprocessing import RequestPreprocessor
from localrouter.engine.sampling.sampler import CannotSample, NotFinite, SampledToken, Sampler
from localrouter.engine.scheduling.scheduler import Scheduler
from localrouter.engine.scheduling.sequence import Sequence

log = logging.getLogger(__name__)


class Engine:
    """One model, many conversations. One thread enqueues, cancels and steps; another may use `intake`."""

    def __init__(self, backend: Backend, step_seconds: float = 0.3) -> None:
        self.backend = backend
        self.scheduler = Scheduler(backend.limits, step_seconds)
        self.intake = RequestPreprocessor(backend)
        self.sampler = Sampler(backend.info.vocabulary, backend.exp)

    @property
    def is_idle(self) -> bool:
        """Whether a step would do nothing."""
        return self.scheduler.is_idle

    @property
    def gauge(self) -> Gauge:
        """What the engine holds now."""
        scheduler, host_store = self.scheduler, self.scheduler.slots.host_store
        return Gauge(
            waiting=len(scheduler.waiting),
            running=len(scheduler.running),
            cells_used=scheduler.cells_used,
            cells_cached=scheduler.slots.cells_idle,
            cells_archived=host_store.cells if host_store else 0,
        )

    def submit(self, command: Generate) -> Event:
        """Take a request in and queue it, as `enqueue` does."""
        return self.enqueue(self.intake.take(command))

    def enqueue(self, taken: Sequence | Finished) -> Event:
        """Queue what `intake` made of a request. Returns its Accepted, or its Finished when it cannot be served."""
        if isinstance(taken, Finished):
            return taken
        self.scheduler.add(taken)
        return Accepted(taken.id, taken.prompt_tokens)

    def cancel(self, id: int) -> list[Event]:  # noqa: A002 - the word of the messages
        """End a request at once, wherever it stands, and free its cells. Nothing happens when it has ended already."""
        sequence = self.scheduler.end(id)
        return [] if sequence is None else [Finished(id, "cancelled", sequence.usage)]

    def step(self) -> list[Event]:
        """Compute one batch and return what came of it.

        An exception that is no CacheFull or BatchRefused means that the backend cannot be trusted any more.
        """
        self.scheduler.admit()
        self._apply_operations()
        batch = self.scheduler.schedule()
        self._apply_operations()
        if not batch:
            return []
        begin = time.perf_counter()
        try:
            logits = self.backend.decode(batch)
        except CacheFull:
            return self._after_cache_full()
        except BatchRefused as error:
            return self._fail((sequence for sequence, _ in batch.chunks), "batch_refused", str(error))
        for sequence in self.scheduler.computed(batch, time.perf_counter() - begin):
            if (checkpoint := self.backend.keep_state(sequence.slot)) is not None:
                self.scheduler.keep_state(sequence, checkpoint)
        events: list[Event] = []
        for output, (sequence, row) in enumerate(zip(batch.sampled, logits, strict=True)):
            events += self._advance(sequence, output, row)
        return events

    def run_idle_work(self) -> bool:
        """Do a little of what can be done while there is nothing to compute; False when there is no more of it."""
        if not self.scheduler.slots.offload_next():
            return False
        self._apply_operations()
        return True

    def _advance(self, sequence: Sequence, output: int, row: NDArray[np.float32]) -> list[Event]:
        """Draw the next token of a sequence from its row of logits, and say what comes of it."""
        try:
            sampled_token = self._sample(sequence, output, row)
            sequence.tokens.append(sampled_token.token)
            if self.backend.is_end(sampled_token.token):
                return self._finish(sequence, "stop")
            if sequence.constraint is not None:
                sequence.constraint.take(sampled_token.token)
        except (CannotSample, GrammarFailed) as error:
            if isinstance(error, NotFinite):  # also of what it has taken over, or all who begin alike would fail
                self.scheduler.slots.invalidate_prefix(sequence.tokens, sequence.cached)
            return self._fail([sequence], error.code, str(error))
        piece = self._bytes_of(sampled_token.token, sequence)
        said = sequence.answer.feed(sampled_token.token, piece, self._logprob(sampled_token, sequence))
        events = _pieces(sequence, said)
        if sequence.constraint is not None and sequence.constraint.is_complete:
            events += self._finish(sequence, "stop")
        elif sequence.answer.is_stopped or sequence.completion_tokens >= sequence.max_tokens:
            events += self._finish(sequence, "length")
        return events

    def _sample(self, sequence: Sequence, output: int, row: NDArray[np.float32]) -> SampledToken:
        """Return the next token. Raises Undrawable or GrammarFailed."""
        token = self.backend.sampled_token(output)
        if token is not None:
            return SampledToken(token)
        allowed = sequence.next_allowed()
        return self.sampler.sample(row, sequence.sampling, sequence.rng, sequence.penalties, allowed)

    def _bytes_of(self, token: int, sequence: Sequence) -> bytes:
        """The bytes of a token in this answer: control tokens have none, but for its markers."""
        return self.backend.text(token) if token in sequence.delimiters else self.backend.piece(token)

    def _logprob(self, sampled_token: SampledToken, sequence: Sequence) -> Logprob | None:
        if sampled_token.logprob is None:
            return None
        top = tuple((self._bytes_of(token, sequence), value) for token, value in sampled_token.top)
        return Logprob(self._bytes_of(sampled_token.token, sequence), sampled_token.logprob, top)

    def _finish(self, sequence: Sequence, reason: FinishReason) -> list[Event]:
        """End a request for this reason, or for a stop string, which may be complete only with the last characters."""
        self.scheduler.end(sequence.id)
        events = _pieces(sequence, sequence.answer.flush())
        if sequence.answer.is_stopped:
            reason = "stop"
        return [*events, Finished(sequence.id, reason, sequence.usage)]

    def _fail(self, sequences: Iterable[Sequence], code: str, message: str) -> list[Event]:
        events: list[Event] = []
        for sequence in sequences:
            log.error("request %d ends with %s: %s", sequence.id, code, message)
            self.scheduler.end(sequence.id, keep=False)
            events.append(Finished(sequence.id, "error", sequence.usage, code, message))
        return events

    def _after_cache_full(self) -> list[Event]:
        """The backend found less room than the scheduler counted on: go on with less in the cache."""
        if self.scheduler.cache_was_full():
            return []
        return self._fail(list(self.scheduler.running), "cache_full", "The cache cannot hold this conversation.")

    def _apply_operations(self) -> None:
        """Let the backend do to its cache what the scheduler has decided."""
        while operations := self.scheduler.slots.take_operations():
            for change in operations:
                self._make(change)

    def _make(self, change: Operation) -> None:
        """Make one change. What cannot be forked or brought back is computed instead."""
        backend, scheduler = self.backend, self.scheduler
        match change:
            case Clear(slot):
                backend.clear(slot)
            case Discard(checkpoint):
                backend.discard_state(checkpoint)
            case Forget(handle):
                backend.forget(handle)
            case Fork(source, slot, count, checkpoint) if not backend.fork(source, slot, count, checkpoint):
                scheduler.slots.mark_unforkable(source, count)
                scheduler.start_anew(slot)
            case Store(handle, slot, start, end) if not backend.store(handle, slot, start, end):
                scheduler.slots.not_stored(handle, slot)
            case Restore():
                self._restore(change)

    def _restore(self, change: Restore) -> None:
        if self.scheduler.slots.cache.length(change.slot) < change.end:
            return  # what comes before could not be forked, and the slot starts anew
        if not self.backend.restore(change.handle, change.slot, change.start, change.end):
            self.scheduler.slots.forget(change.handle)
            self.scheduler.start_anew(change.slot)


def _pieces(sequence: Sequence, said: Iterable[OutputSpan]) -> list[Event]:
    return [Piece(sequence.id, span.text, logprobs, span.kind, span.edge) for span, logprobs in said]

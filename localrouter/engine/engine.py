"""The engine: requests join and leave between steps, and each step computes one batch for all of them."""

import logging
import time
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from localrouter.engine.answer import Said
from localrouter.engine.backend import Backend, BatchRefused, CacheFull
from localrouter.engine.changes import Change, Clear, Discard, Forget, Fork, Restore, Store
from localrouter.engine.grammar import GrammarFailed
from localrouter.engine.intake import Intake
from localrouter.engine.messages import Accepted, Event, Finished, FinishReason, Gauge, Generate, Logprob, Piece
from localrouter.engine.sampling import Drawn, NotFinite, Sampler, Undrawable
from localrouter.engine.scheduler import Scheduler
from localrouter.engine.sequence import Sequence

log = logging.getLogger(__name__)


class Engine:
    """One model, many conversations. One thread enqueues, cancels and steps; another may use `intake`."""

    def __init__(self, backend: Backend, step_seconds: float = 0.3) -> None:
        self.backend = backend
        self.scheduler = Scheduler(backend.limits, step_seconds)
        self.intake = Intake(backend)
        self.sampler = Sampler(backend.info.vocabulary, backend.exp)

    @property
    def is_idle(self) -> bool:
        """Whether a step would do nothing."""
        return self.scheduler.is_idle

    @property
    def gauge(self) -> Gauge:
        """What the engine holds now."""
        scheduler, archive = self.scheduler, self.scheduler.slots.archive
        return Gauge(
            waiting=len(scheduler.waiting),
            running=len(scheduler.running),
            cells_used=scheduler.cells_used,
            cells_cached=scheduler.slots.cells_idle,
            cells_archived=archive.cells if archive else 0,
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
        self._make_changes()
        batch = self.scheduler.schedule()
        self._make_changes()
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

    def rest(self) -> bool:
        """Do a little of what can be done while there is nothing to compute; False when there is no more of it."""
        if not self.scheduler.slots.store_ahead():
            return False
        self._make_changes()
        return True

    def _advance(self, sequence: Sequence, output: int, row: NDArray[np.float32]) -> list[Event]:
        """Draw the next token of a sequence from its row of logits, and say what comes of it."""
        try:
            drawn = self._draw(sequence, output, row)
            sequence.tokens.append(drawn.token)
            if self.backend.is_end(drawn.token):
                return self._finish(sequence, "stop")
            if sequence.constraint is not None:
                sequence.constraint.take(drawn.token)
        except (Undrawable, GrammarFailed) as error:
            if isinstance(error, NotFinite):  # also of what it has taken over, or all who begin alike would fail
                self.scheduler.slots.distrust(sequence.tokens, sequence.cached)
            return self._fail([sequence], error.code, str(error))
        piece = self._bytes_of(drawn.token, sequence)
        said = sequence.answer.feed(drawn.token, piece, self._logprob(drawn, sequence))
        events = _pieces(sequence, said)
        if sequence.constraint is not None and sequence.constraint.is_complete:
            events += self._finish(sequence, "stop")
        elif sequence.answer.is_stopped or sequence.completion_tokens >= sequence.max_tokens:
            events += self._finish(sequence, "length")
        return events

    def _draw(self, sequence: Sequence, output: int, row: NDArray[np.float32]) -> Drawn:
        """Return the next token. Raises Undrawable or GrammarFailed."""
        token = self.backend.drawn(output)
        if token is not None:
            return Drawn(token)
        allowed = sequence.next_allowed()
        return self.sampler.draw(row, sequence.sampling, sequence.draw, sequence.adjustment, allowed)

    def _bytes_of(self, token: int, sequence: Sequence) -> bytes:
        """The bytes of a token in this answer: control tokens have none, but for its markers."""
        return self.backend.text(token) if token in sequence.markers else self.backend.piece(token)

    def _logprob(self, drawn: Drawn, sequence: Sequence) -> Logprob | None:
        if drawn.logprob is None:
            return None
        top = tuple((self._bytes_of(token, sequence), value) for token, value in drawn.top)
        return Logprob(self._bytes_of(drawn.token, sequence), drawn.logprob, top)

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

    def _make_changes(self) -> None:
        """Let the backend do to its cache what the scheduler has decided."""
        while changes := self.scheduler.slots.take_changes():
            for change in changes:
                self._make(change)

    def _make(self, change: Change) -> None:
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
                scheduler.slots.bar(source, count)
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


def _pieces(sequence: Sequence, said: Iterable[Said]) -> list[Event]:
    return [Piece(sequence.id, span.text, logprobs, span.kind, span.edge) for span, logprobs in said]

"""The engine: serves the requests of one model. They join and leave between steps, and a step computes all of them.

A step has four parts. *Plan*: admit waiting requests and choose the rows of the batch. *Apply*: let the backend perform
the KV-cache operations that the plan needs. *Decode*: compute the batch. *Commit*: record what is in the cache now,
sample a token for each sequence whose tokens are all computed, and return the events that follow.
"""

import logging
import time
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from localrouter.engine.backends.base import Backend, BatchRefused, CacheFull, Logits
from localrouter.engine.grammar.constraint import GrammarFailed
from localrouter.engine.messages import (
    Accepted,
    Event,
    Finished,
    FinishReason,
    Gauge,
    Generate,
    Logprob,
    Piece,
    PromptLogprobs,
)
from localrouter.engine.output.output import OutputSpan
from localrouter.engine.preprocessing import RequestPreprocessor
from localrouter.engine.sampling.prompt_logprobs import score
from localrouter.engine.sampling.sampler import CannotSample, NotFinite, SampledToken, Sampler
from localrouter.engine.scheduling.batch import Batch, ScoredTokens
from localrouter.engine.scheduling.scheduler import Scheduler
from localrouter.engine.scheduling.sequence import Sequence, SequenceState

log = logging.getLogger(__name__)


class Engine:
    """Serves many requests on one backend, for one thread. Another thread may use `preprocessor`."""

    def __init__(self, backend: Backend, step_seconds: float = 0.3) -> None:
        """`step_seconds` is the time that a step should take at most, so that running streams do not stall."""
        self.backend = backend
        self.scheduler = Scheduler(backend.limits, step_seconds)
        self.kv_cache = self.scheduler.kv_cache
        self.preprocessor = RequestPreprocessor(backend)
        self.sampler = Sampler(backend.info.vocabulary, backend.exp)

    @property
    def is_idle(self) -> bool:
        """Whether no request is waiting or running, so that a step would do nothing."""
        return self.scheduler.is_idle

    @property
    def gauge(self) -> Gauge:
        """Numbers of requests and of KV cells, as they are now."""
        usage = self.kv_cache.usage
        return Gauge(
            waiting=len(self.scheduler.waiting),
            running=len(self.scheduler.running),
            cells_used=usage.running,
            cells_cached=usage.cached,
            cells_archived=usage.offloaded,
        )

    def submit(self, command: Generate) -> Event:
        """Preprocess a request and queue it; return its Accepted, or its Finished when it cannot be served."""
        return self.enqueue(self.preprocessor.prepare(command))

    def enqueue(self, prepared: Sequence | Finished) -> Event:
        """Queue a request that `preprocessor` has prepared; return its Accepted, or its Finished if it was refused."""
        if isinstance(prepared, Finished):
            return prepared
        self.scheduler.add(prepared)
        return Accepted(prepared.id, prepared.prompt_tokens)

    def cancel(self, id: int) -> list[Event]:  # noqa: A002 - the name in messages
        """End a waiting or running request and return its Finished; no events if it has ended already or is unknown.

        Its cells stay cached for prompts with the same prefix.
        """
        sequence = self.scheduler.end(id)
        return [] if sequence is None else [Finished(id, "cancelled", sequence.usage)]

    def step(self) -> list[Event]:
        """Compute one batch and return the events that follow from it.

        After any exception the backend is in an unknown state and must not be used again.
        """
        batch = self._plan()
        self.scheduler.apply(self.backend)
        if not batch:
            return []
        begin = time.perf_counter()
        for sequence, _ in batch.chunks:
            if sequence.started is None:
                sequence.started = begin
        try:
            logits = self.backend.decode(batch)
        except CacheFull:
            return self._handle_cache_full()
        except BatchRefused as error:
            return self._fail([sequence for sequence, _ in batch.chunks], "batch_refused", str(error))
        return self._commit(batch, logits, time.perf_counter() - begin)

    def run_idle_work(self) -> bool:
        """Offload a piece of an idle slot, to be called while there is nothing to compute; False when none is left."""
        if not self.kv_cache.offload_next():
            return False
        self.scheduler.apply(self.backend)
        return True

    def _plan(self) -> Batch:
        """Admit waiting requests and return the rows of the next step.

        Operations of the admission are performed in between: a failed fork leaves its sequence with more to compute.
        """
        self.scheduler.admit()
        self.scheduler.apply(self.backend)
        return self.scheduler.schedule()

    def _commit(self, batch: Batch, logits: Logits, seconds: float) -> list[Event]:
        """Record that a batch was computed in `seconds`, keep checkpoints, and return the events of sampled tokens."""
        for sequence in self.scheduler.commit(batch, seconds):
            if (checkpoint := self.backend.save_state(sequence.slot)) is not None:
                self.scheduler.add_checkpoint(sequence, checkpoint)
        events: list[Event] = []
        for scored in batch.scored:
            events += self._report(scored, logits)
        for sequence, output in zip(batch.sampled, batch.sampled_outputs, strict=True):
            if sequence.state is SequenceState.RUNNING:
                events += self._advance(sequence, output, logits[output])
        return events

    def _report(self, scored: ScoredTokens, logits: Logits) -> list[Event]:
        """Return the log probabilities of some prompt tokens, reduced from views of the rows of logits."""
        sequence = scored.sequence
        assert sequence.prompt_scores is not None
        rows, top = logits[scored.output :], sequence.prompt_scores.top
        try:
            tokens = score(sequence.tokens, scored.tokens, rows, top, self.sampler, self.backend.text)
        except NotFinite as error:
            return self._fail([sequence], error.code, str(error))
        sequence.prompt_scores.reported = scored.tokens.stop
        return [PromptLogprobs(sequence.id, tokens, is_last=sequence.prompt_scores.is_complete)]

    def _advance(self, sequence: Sequence, output: int, row: NDArray[np.float32]) -> list[Event]:
        """Sample the next token of a sequence, from the logits of output number `output`, and return its events."""
        if not sequence.max_tokens:
            return self._finish(sequence, "length")
        try:
            sampled_token = self._sample(sequence, output, row)
            sequence.append(sampled_token.token)
            if self.backend.is_end(sampled_token.token) or sampled_token.token in sequence.sampling.stop_tokens:
                return self._finish(sequence, "stop", self._silent(sampled_token, sequence))
            if sequence.constraint is not None:
                sequence.constraint.take(sampled_token.token)
        except (CannotSample, GrammarFailed) as error:
            if isinstance(error, NotFinite):  # cells that it shares may be at fault: reused, they would fail others too
                self.kv_cache.invalidate_prefix(sequence.tokens, sequence.cached)
            return self._fail([sequence], error.code, str(error))
        piece = self._bytes_of(sampled_token.token, sequence)
        silent = [] if piece else self._silent(sampled_token, sequence)
        spans = sequence.output.feed(sampled_token.token, piece, self._logprob(sampled_token, sequence))
        events = [*_pieces(sequence, spans), *silent]
        if sequence.constraint is not None and sequence.constraint.is_complete:
            events += self._finish(sequence, "stop")
        elif sequence.output.is_stopped or sequence.completion_tokens >= sequence.max_tokens:
            events += self._finish(sequence, "length")
        return events

    def _sample(self, sequence: Sequence, output: int, row: NDArray[np.float32]) -> SampledToken:
        """Return the next token of a sequence. Raises CannotSample or GrammarFailed."""
        token = self.backend.sampled_token(output)
        if token is not None:
            return SampledToken(token)
        allowed = sequence.next_allowed()
        return self.sampler.sample(
            row, sequence.sampling, sequence.rng, sequence.penalties, allowed, banned=sequence.banned
        )

    def _bytes_of(self, token: int, sequence: Sequence) -> bytes:
        """Return the bytes of a token in a sequence's output; special tokens have none, except its delimiters."""
        return self.backend.text(token) if token in sequence.delimiters else self.backend.piece(token)

    def _logprob(self, sampled_token: SampledToken, sequence: Sequence) -> Logprob | None:
        if sampled_token.logprob is None:
            return None
        top = tuple((self._bytes_of(token, sequence), value) for token, value in sampled_token.top)
        return Logprob(self._bytes_of(sampled_token.token, sequence), sampled_token.logprob, top)

    def _silent(self, sampled_token: SampledToken, sequence: Sequence) -> list[Event]:
        """Return a piece without text for a token that has none, where the request lists such tokens."""
        if sampled_token.logprob is None or not sequence.lists_silent:
            return []
        top = tuple((self.backend.text(token), value) for token, value in sampled_token.top)
        token = Logprob(self.backend.text(sampled_token.token), sampled_token.logprob, top)
        return [Piece(sequence.id, "", (token,))]

    def _finish(self, sequence: Sequence, reason: FinishReason, end: Iterable[Event] = ()) -> list[Event]:
        """End a request and return its last events; `end` comes after the text.

        A stop string may be complete only with the last characters; then the reason is "stop".
        """
        self.scheduler.end(sequence.id)
        events = _pieces(sequence, sequence.output.flush())
        if sequence.output.is_stopped:
            reason = "stop"
        timings = sequence.timings if sequence.reports_progress else None
        return [*events, *end, Finished(sequence.id, reason, sequence.usage, timings=timings)]

    def _fail(self, sequences: Iterable[Sequence], code: str, message: str) -> list[Event]:
        """End requests with an error, keep nothing of them in the cache, and return their Finished."""
        events: list[Event] = []
        for sequence in sequences:
            usage = sequence.usage
            log.error(
                "request %d failed with %s after %d prompt tokens and %d completion tokens: %s",
                sequence.id,
                code,
                usage.prompt_tokens,
                usage.completion_tokens,
                message,
            )
            self.scheduler.end(sequence.id, keep=False)
            events.append(Finished(sequence.id, "error", usage, code, message))
        return events

    def _handle_cache_full(self) -> list[Event]:
        """Free cells, which the backend lacks although the scheduler counted them as free.

        The batch is computed in a later step. If nothing can be freed, end the request that runs alone.
        """
        if self.scheduler.make_room_for_backend():
            return []
        return self._fail(list(self.scheduler.running), "cache_full", "The KV cache cannot hold this conversation.")


def _pieces(sequence: Sequence, spans: Iterable[OutputSpan]) -> list[Event]:
    progress = sequence.progress
    return [Piece(sequence.id, span.text, logprobs, span.kind, span.edge, progress) for span, logprobs in spans]

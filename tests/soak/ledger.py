"""The ledger: the events of every request, checked against what is allowed at that moment."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from localrouter.engine.backends.base import Backend
from localrouter.engine.messages import Accepted, Event, Finished, Piece
from localrouter.engine.output.detokenizer import Detokenizer

from .workload import Request


@dataclass
class Record:
    """One request as its client sees it."""

    request: Request
    prompt_tokens: int
    tokens: list[int]
    """Tokens of prompt and output: the list that the engine appends to."""
    context: int
    events: list[Event] = field(default_factory=list)
    is_cancelled: bool = False

    @property
    def end(self) -> Finished | None:
        """The Finished event; None while the request is open."""
        last = self.events[-1] if self.events else None
        return last if isinstance(last, Finished) else None

    @property
    def max_output(self) -> int:
        """Largest number of tokens of the output."""
        return min(self.request.max_tokens, self.context - self.prompt_tokens)

    @property
    def output(self) -> list[int]:
        """Tokens sampled so far."""
        return self.tokens[self.prompt_tokens :]


class Ledger:
    """Records every event, and asserts that it is allowed now and correct."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.records: dict[int, Record] = {}
        self.open: set[int] = set()
        """Ids of requests that were accepted and have not ended."""

    def submitted(self, record: Record, event: Event) -> None:
        """Record a request and its first event: Accepted, or Finished if its prompt is empty or too long."""
        number, prompt = record.request.number, record.prompt_tokens
        assert number not in self.records
        self.records[number] = record
        if 0 < prompt < record.context:
            assert event == Accepted(number, prompt)
            self.open.add(number)
        else:
            assert isinstance(event, Finished)
            assert event.id == number
            assert (event.reason, event.code) == ("error", "context_length_exceeded" if prompt else "empty_prompt")
            assert (event.usage.prompt_tokens, event.usage.completion_tokens) == (prompt, 0)
        record.events.append(event)

    def cancelled(self, number: int, events: list[Event]) -> None:
        """Record the events of a cancellation: a Finished for an open request, none otherwise."""
        record = self.records[number]
        if number not in self.open:
            assert events == []
            return
        record.is_cancelled = True
        [event] = events
        assert isinstance(event, Finished)
        assert event.reason == "cancelled"
        self.take(events, allowed={})

    def take(self, events: Iterable[Event], allowed: dict[int, set[str]]) -> None:
        """Record the events of a step. `allowed` has the error codes that requests may end with, by request number."""
        for event in events:
            assert event.id in self.open, f"{event} of a request that is not open"
            assert not isinstance(event, Accepted)
            record = self.records[event.id]
            record.events.append(event)
            if isinstance(event, Finished):
                self.open.remove(event.id)
                self._check(record, event, allowed.get(event.id, set()))

    def reasons(self) -> Counter[str]:
        """Return the number of requests by finish reason or error code."""
        ends = [record.end for record in self.records.values()]
        return Counter(end.code or end.reason for end in ends if end is not None)

    def _check(self, record: Record, end: Finished, allowed: set[str]) -> None:
        usage, output = end.usage, record.output
        assert usage.prompt_tokens == record.prompt_tokens
        assert usage.completion_tokens == len(output) <= record.max_output
        assert 0 <= usage.cached_tokens < record.prompt_tokens
        assert record.is_cancelled == (end.reason == "cancelled")
        are_ends = [self._backend.is_end(token) for token in output]
        assert not any(are_ends[:-1])
        match end.reason:
            case "stop":
                assert are_ends[-1]
            case "length":
                assert len(output) == record.max_output
                assert not are_ends[-1]
            case "error":
                assert end.code in allowed, f"no fault explains {end}"
            case "cancelled":
                assert len(output) < record.max_output
        self._check_text(record, end)

    def _check_text(self, record: Record, end: Finished) -> None:
        """Assert that the pieces are the text of the sampled tokens, without loss, repetition or cut characters."""
        text = Detokenizer()
        output = record.output[:-1] if end.reason == "stop" else record.output
        expected = "".join(text.feed(self._backend.piece(token)) for token in output)
        if end.reason in ("stop", "length"):
            expected += text.flush()
        pieces = [event.text for event in record.events if isinstance(event, Piece)]
        assert all(pieces)
        assert "".join(pieces) == expected

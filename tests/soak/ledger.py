"""What became of every request, held against what may become of it."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from localrouter.engine.backends.base import Backend
from localrouter.engine.messages import Accepted, Event, Finished, Piece
from localrouter.engine.output.detokenizer import Detokenizer

from .workload import Request


@dataclass
class Record:
    """One request as its caller sees it."""

    request: Request
    prompt_tokens: int
    tokens: list[int]
    """Prompt and answer: the list that the engine itself appends to."""
    context: int
    events: list[Event] = field(default_factory=list)
    is_cancelled: bool = False

    @property
    def end(self) -> Finished | None:
        """Its end, once it has ended."""
        last = self.events[-1] if self.events else None
        return last if isinstance(last, Finished) else None

    @property
    def most(self) -> int:
        """Tokens that its answer may have."""
        return min(self.request.max_tokens, self.context - self.prompt_tokens)

    @property
    def answer(self) -> list[int]:
        """Tokens sampled so far."""
        return self.tokens[self.prompt_tokens :]


class Ledger:
    """Takes every event, and asserts that it may come now and says what is true."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.records: dict[int, Record] = {}
        self.open: set[int] = set()
        """Requests that were accepted and have not ended."""

    def submitted(self, record: Record, event: Event) -> None:
        """Note a request and the answer to it: it is accepted, or refused for its prompt."""
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
        """Note what a cancel led to: the end of a request that is open, nothing otherwise."""
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
        """Note the events of a step. `allowed` are the errors with which requests may end, by their numbers."""
        for event in events:
            assert event.id in self.open, f"{event} of a request that is not open"
            assert not isinstance(event, Accepted)
            record = self.records[event.id]
            record.events.append(event)
            if isinstance(event, Finished):
                self.open.remove(event.id)
                self._check(record, event, allowed.get(event.id, set()))

    def reasons(self) -> Counter[str]:
        """How the requests have ended."""
        ends = [record.end for record in self.records.values()]
        return Counter(end.code or end.reason for end in ends if end is not None)

    def _check(self, record: Record, end: Finished, allowed: set[str]) -> None:
        usage, answer = end.usage, record.answer
        assert usage.prompt_tokens == record.prompt_tokens
        assert usage.completion_tokens == len(answer) <= record.most
        assert 0 <= usage.cached_tokens < record.prompt_tokens
        assert record.is_cancelled == (end.reason == "cancelled")
        stops = [self._backend.is_end(token) for token in answer]
        assert not any(stops[:-1])
        match end.reason:
            case "stop":
                assert stops[-1]
            case "length":
                assert len(answer) == record.most
                assert not stops[-1]
            case "error":
                assert end.code in allowed, f"{end} without a reason"
            case "cancelled":
                assert len(answer) < record.most
        self._check_text(record, end)

    def _check_text(self, record: Record, end: Finished) -> None:
        """The pieces are the text of the sampled tokens: none is lost, sent twice or cut inside a character."""
        text = Detokenizer()
        answer = record.answer[:-1] if end.reason == "stop" else record.answer
        expected = "".join(text.feed(self._backend.piece(token)) for token in answer)
        if end.reason in ("stop", "length"):
            expected += text.flush()
        pieces = [event.text for event in record.events if isinstance(event, Piece)]
        assert all(pieces)
        assert "".join(pieces) == expected

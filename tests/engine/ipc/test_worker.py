"""The child side of the border, run in a thread of the test: what is slow is done beside the streams."""

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from conversations import prompt

from localrouter.engine.backends.base import Backend
from localrouter.engine.backends.echo import EchoBackend
from localrouter.engine.generation_request import GenerationRequest, Grammar, Segment
from localrouter.engine.grammar.constraint import GrammarVocabulary
from localrouter.engine.ipc import wire
from localrouter.engine.ipc.worker import Worker
from localrouter.engine.messages import (
    Cancel,
    Command,
    Detokenize,
    Event,
    Finished,
    Generate,
    Load,
    Loading,
    Piece,
    Ready,
    Report,
    Step,
    Stop,
    Tokenize,
    Tokens,
)
from localrouter.load_options import LoadOptions

PATIENCE = 30
"""Seconds without a report after which a test fails."""


class SlowGrammars(EchoBackend):
    """Its first grammar takes until `may_go_on` is set."""

    def __init__(self, options: LoadOptions) -> None:
        super().__init__(options)
        self.is_compiling, self.may_go_on, self.is_closed = (threading.Event() for _ in range(3))

    def grammar_vocabulary(self) -> GrammarVocabulary:
        self.is_compiling.set()
        assert self.may_go_on.wait(PATIENCE)
        return super().grammar_vocabulary()

    def close(self) -> None:
        self.is_closed.set()


class ThreadedWorker(Worker):
    """A worker that does not end its process."""

    def __init__(self, connection: socket.socket, backend: Backend) -> None:
        super().__init__(connection)
        self._given = backend

    def _open(self, load: Load, on_loading: Callable[[Loading], None]) -> Backend:
        return self._given

    def _exit(self, status: int) -> None:
        pass


class Conversation:
    """The other side of a worker."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        self._connection = connection
        self._incoming = wire.reports()
        self._reports: list[Report] = []

    def say(self, command: Command) -> None:
        self._connection.sendall(wire.frame(command))

    def hear(self) -> Report:
        """Return the next report."""
        while not self._reports:
            self._reports = self._incoming.feed(self._connection.recv(1 << 16))
        return self._reports.pop(0)

    def hear_until(self, is_it: Callable[[Event], bool]) -> list[Event]:
        """Return events up to the step with the one that is waited for."""
        events: list[Event] = []
        while not any(map(is_it, events)):
            report = self.hear()
            assert isinstance(report, Step)
            events += report.events
        return events


@pytest.fixture
def backend() -> SlowGrammars:
    return SlowGrammars(LoadOptions(context=4000))


@pytest.fixture
def worker(backend: SlowGrammars) -> Iterator[Conversation]:
    ours, theirs = socket.socketpair()
    serving = threading.Thread(target=ThreadedWorker(theirs, backend).run)
    with theirs, ours:
        serving.start()
        conversation = Conversation(ours)
        conversation.say(Load("", "echo"))
        assert isinstance(conversation.hear(), Ready)
        yield conversation
        backend.may_go_on.set()
        conversation.say(Stop())
        serving.join(PATIENCE)
    assert not serving.is_alive()


def ended(number: int) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, Finished) and event.id == number


def test_a_stream_goes_on_while_a_grammar_is_compiled(worker: Conversation, backend: SlowGrammars) -> None:
    worker.say(Generate(1, GenerationRequest(prompt("x" * 1500))))
    worker.hear_until(lambda event: isinstance(event, Piece))
    worker.say(Generate(2, GenerationRequest(prompt("true"), grammar=Grammar('start: "true"'))))
    assert backend.is_compiling.wait(PATIENCE)

    events = worker.hear_until(ended(1))

    assert {event.id for event in events} == {1}
    backend.may_go_on.set()
    assert [event.text for event in worker.hear_until(ended(2)) if isinstance(event, Piece)] == list("true")


def test_cancelling_a_stream_does_not_wait_for_a_grammar(worker: Conversation, backend: SlowGrammars) -> None:
    worker.say(Generate(1, GenerationRequest(prompt("x" * 1500))))
    worker.say(Generate(2, GenerationRequest(prompt("true"), grammar=Grammar('start: "true"'))))
    assert backend.is_compiling.wait(PATIENCE)

    worker.say(Cancel(1))

    *_, end = worker.hear_until(ended(1))
    assert isinstance(end, Finished)
    assert end.reason == "cancelled"


def test_a_request_cancelled_before_it_is_queued_ends_once(worker: Conversation, backend: SlowGrammars) -> None:
    worker.say(Generate(1, GenerationRequest(prompt("true"), grammar=Grammar('start: "true"'))))
    worker.say(Generate(2, GenerationRequest(prompt("behind it"))))
    worker.say(Generate(3, GenerationRequest(prompt("true"))))
    assert backend.is_compiling.wait(PATIENCE)
    worker.say(Cancel(1))
    worker.say(Cancel(2))
    worker.say(Cancel(2))
    backend.may_go_on.set()

    events = worker.hear_until(ended(3))

    ends = {event.id: event.reason for event in events if isinstance(event, Finished)}
    assert ends == {1: "cancelled", 2: "cancelled", 3: "stop"}


def test_a_backend_is_not_closed_while_a_request_is_taken_in(worker: Conversation, backend: SlowGrammars) -> None:
    worker.say(Generate(1, GenerationRequest(prompt("true"), grammar=Grammar('start: "true"'))))
    assert backend.is_compiling.wait(PATIENCE)

    worker.say(Stop())

    assert not backend.is_closed.wait(0.2)
    backend.may_go_on.set()
    assert backend.is_closed.wait(PATIENCE)


def test_text_becomes_tokens_and_tokens_become_text_beside_a_stream(worker: Conversation) -> None:
    worker.say(Generate(1, GenerationRequest(prompt("x" * 1500))))
    worker.say(Tokenize(2, [Segment("<|im_end|>", True), Segment("é", False)]))
    worker.say(Detokenize(3, [257, 104]))

    reports: list[Report] = []
    while not any(isinstance(report, Step) and any(map(ended(1), report.events)) for report in reports):
        reports.append(worker.hear())

    assert [report for report in reports if isinstance(report, Tokens)] == [
        Tokens(2, [257, 195, 169], [b"<|im_end|>", b"\xc3", b"\xa9"]),
        Tokens(3, [257, 104], [b"<|im_end|>", b"h"]),
    ]

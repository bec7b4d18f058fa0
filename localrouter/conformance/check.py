"""One check: what it asks of a server, what the reference promises, and how it can end."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import wraps
from typing import Any

import openai

from localrouter.conformance.server_under_test import ServerUnderTest


class CheckOutcome(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    REFUSED = "refused"
    """The server said that it does not support what was asked. That is honest; dropping it in silence is not."""
    UNDECIDED = "undecided"
    """What this model happened to say shows neither."""
    NOT_RUN = "not run"
    """The run ended before: the server had stopped answering, or somebody had waited long enough."""


class Broken(Exception):
    """A promise was not kept; the message says how."""


class Undecided(Exception):
    """Nothing can be concluded from what the model said; the message says why."""


@dataclass(frozen=True)
class Check:
    """A function that raises Broken or Undecided, or returns.

    `fields` are what a server may say it does not support.
    """

    group: str
    run: Callable[[ServerUnderTest], None]
    fields: tuple[str, ...]

    @property
    def name(self) -> str:
        """What is checked, as a sentence."""
        return self.run.__name__.replace("_", " ")

    @property
    def promise(self) -> str:
        """What the reference says."""
        return " ".join((self.run.__doc__ or "").split())


@dataclass(frozen=True)
class CheckResult:
    """How one check ended. `reason` is empty if it passed; `asked` and `came` are the last request and its answer.

    `silent`: no answer came, neither good nor bad.
    """

    check: Check
    outcome: CheckOutcome
    reason: str = ""
    asked: Any = None
    came: str = ""
    seconds: float = 0.0
    silent: bool = False


@dataclass(frozen=True)
class CheckGroup:
    """Checks of one subject, in the order in which they run."""

    name: str
    checks: list[Check] = field(default_factory=list)

    def check(self, *fields: str) -> Callable[[Callable[[ServerUnderTest], None]], Callable[[ServerUnderTest], None]]:
        """Add a check. A 4xx that names one of `fields` counts as refused, not as failed."""

        def add(run: Callable[[ServerUnderTest], None]) -> Callable[[ServerUnderTest], None]:
            self.checks.append(Check(self.name, run, fields))
            return run

        return add


def expect(kept: object, otherwise: str) -> None:
    """Raise Broken with these words unless the promise was kept."""
    if not kept:
        raise Broken(otherwise)


def equal(found: object, promised: object, what: str) -> None:
    """Raise Broken unless both are the same."""
    expect(found == promised, f"{what} is {found!r}, not {promised!r}")


def thrice(run: Callable[[ServerUnderTest], None]) -> Callable[[ServerUnderTest], None]:
    """Return a check that has three tries, for chance may decide how one ends.

    Some compare what a model said in several answers: rounding differs with what was computed before, and may decide
    between tokens that are as good, of which random weights have many. Some need an answer that the model does not end
    by itself. A server that breaks such a promise breaks it each time.
    """

    @wraps(run)
    def tried(server: ServerUnderTest) -> None:
        for _ in range(2):
            with suppress(Broken, Undecided):
                return run(server)
        return run(server)

    return tried


def refuses(server: ServerUnderTest, good: dict[str, Any], bad: dict[str, Any]) -> None:
    """Raise Broken unless a server that takes `good` answers 4xx to `bad`.

    The good request goes first: a server that refuses that too has not understood the field, and gets no credit.
    """
    server.ask(**good)
    refused(server, **bad)


def refused(server: ServerUnderTest, **bad: Any) -> openai.APIStatusError:
    """Return the error that a request is answered with. Raises Broken unless its status is 4xx."""
    error = server.refusal(**bad)
    status = error.status_code if error else 200
    expect(400 <= status < 500, f"it was answered with status {status}, not refused")
    assert error
    return error


def accepted(server: ServerUnderTest, **fields: Any) -> None:
    """Return if a request is answered. Raises openai.APIStatusError, which may say that a field is not supported."""
    expect(server.ask(**{"max_tokens": 1, **fields})["choices"], "the answer has no choice")

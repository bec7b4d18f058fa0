"""One check: its requests, the promise of the API reference, and its possible outcomes."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import wraps
from typing import Any

import openai

from localrouter.conformance.server_under_test import ServerUnderTest


class CheckOutcome(StrEnum):
    """Outcome of a check."""

    PASSED = "passed"
    FAILED = "failed"
    REJECTED = "rejected"
    """The server reports that it does not support the feature. That is no failure; ignoring a field silently is one."""
    EXEMPT = "exempt"
    """The server accepts on purpose what the reference rejects, and has the effect of it."""
    UNDECIDED = "undecided"
    """The output of this model proves neither success nor failure."""
    NOT_RUN = "not run"
    """The run ended before: the server no longer responded, or Ctrl-C stopped the run."""


class Broken(Exception):
    """A promise of the reference was not kept; the message says how."""


class Undecided(Exception):
    """The model's output allows no conclusion; the message says why."""


@dataclass(frozen=True)
class Check:
    """One check. `run` raises Broken or Undecided, or returns; a server may reject `fields` as unsupported."""

    group: str
    run: Callable[[ServerUnderTest], None]
    fields: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the check: the promise as a short sentence."""
        return self.run.__name__.replace("_", " ")

    @property
    def promise(self) -> str:
        """Promise of the API reference."""
        return " ".join((self.run.__doc__ or "").split())


@dataclass(frozen=True)
class CheckResult:
    """Result of one check. `reason` is empty if it passed; `asked` and `came` are the last request and its response.

    `silent`: the server did not respond at all.
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
        """Add a check to the group. A 4xx that names one of `fields` counts as rejected, not as failed."""

        def add(run: Callable[[ServerUnderTest], None]) -> Callable[[ServerUnderTest], None]:
            self.checks.append(Check(self.name, run, fields))
            return run

        return add


def expect(kept: object, otherwise: str) -> None:
    """Raise Broken with the message `otherwise` unless `kept` is true."""
    if not kept:
        raise Broken(otherwise)


def equal(found: object, promised: object, what: str) -> None:
    """Raise Broken unless both values are equal; `what` names the value."""
    expect(found == promised, f"{what} is {found!r}, not {promised!r}")


def thrice(run: Callable[[ServerUnderTest], None]) -> Callable[[ServerUnderTest], None]:
    """Return a check that is tried up to three times, because its result may depend on chance.

    Some checks compare outputs: rounding depends on earlier computations, and may decide between equally likely tokens,
    of which random weights have many. Some need an output that the model does not end by itself. A server that breaks
    such a promise breaks it every time.
    """

    @wraps(run)
    def tried(server: ServerUnderTest) -> None:
        for _ in range(2):
            with suppress(Broken, Undecided):
                return run(server)
        return run(server)

    return tried


def rejects(server: ServerUnderTest, good: dict[str, Any], bad: dict[str, Any]) -> None:
    """Raise Broken unless a server that accepts `good` responds to `bad` with 4xx.

    The good request comes first: a server that rejects it too does not support the field.
    """
    server.ask(**good)
    rejected(server, **bad)


def rejected(server: ServerUnderTest, **bad: Any) -> openai.APIStatusError:
    """Return the error of a request that must be rejected. Raises Broken unless its status is 4xx."""
    error = server.rejection(**bad)
    status = error.status_code if error else 200
    expect(400 <= status < 500, f"it was answered with status {status}, not rejected")
    assert error
    return error


def accepted(server: ServerUnderTest, **fields: Any) -> None:
    """Raise Broken unless a request gets a choice. Raises openai.APIStatusError, possibly for an unsupported field."""
    expect(server.ask(**{"max_tokens": 1, **fields})["choices"], "the answer has no choice")

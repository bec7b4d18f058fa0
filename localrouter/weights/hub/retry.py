"""Retries of requests to the hub, with exponential pauses since the last success."""

from collections.abc import Callable
from typing import TypeVar

from localrouter.errors import HubUnreachable

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
LONGEST_REQUESTED = 300.0
"""Longest `Retry-After` that is waited for, in seconds; after a longer one the command ends with a hint."""

Pause = Callable[[float], object]
"""Function that waits for seconds; may raise to end the retries."""
Tell = Callable[[str], object]
"""Function that prints a message for the user."""


class Transient(Exception):
    """A transient failure. `after` are the seconds of the server's `Retry-After`, or None."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class Patience:
    """Counter of consecutive failures, at most `tries`; a success resets it. `subject` is named in the final error."""

    def __init__(self, subject: str, tries: int, pause: Pause, tell: Tell) -> None:
        self._subject = subject
        self._tries = tries
        self._pause = pause
        self._tell = tell
        self._failures = 0

    def renew(self) -> None:
        """Reset the counter after a success."""
        self._failures = 0

    def bear(self, failure: Transient) -> None:
        """Report a failure and wait before the next try. Raises HubUnreachable after the last try."""
        self._failures += 1
        if failure.after is not None and failure.after > LONGEST_REQUESTED:
            raise HubUnreachable(
                f"{self._subject}: {failure.reason}",
                hint=f"the hub's rate limit ends in {failure.after / 60:.0f} minutes; run the command again then",
            )
        if self._failures >= self._tries:
            raise HubUnreachable(
                f"{self._subject}: {failure.reason}, {self._failures} times in a row",
                hint="check the network and https://status.huggingface.co, then run the same command to resume",
            )
        seconds = failure.after
        if seconds is None:
            seconds = min(FIRST_PAUSE * 2 ** (self._failures - 1), LONGEST_PAUSE)
        self._tell(f"{failure.reason}; trying again in {seconds:g} s")
        self._pause(seconds)

    def until_done(self, ask: Callable[[], T]) -> T:
        """Return the result of `ask`, which is called again after every Transient. Raises HubUnreachable."""
        while True:
            try:
                return ask()
            except Transient as failure:
                self.bear(failure)

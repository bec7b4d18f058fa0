"""How long a failing hub is asked again: pauses that grow, counted since something last came."""

from collections.abc import Callable
from typing import TypeVar

from localrouter.errors import HubUnreachable

T = TypeVar("T")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
LONGEST_REQUESTED = 300.0
"""Seconds. A server that asks for more is taken at its word: the command ends and says when to come back."""

Pause = Callable[[float], object]
"""Waits so many seconds; may raise, to end the waiting."""
Tell = Callable[[str], object]
"""Tells a person."""


class Transient(Exception):
    """A failure that may pass by itself. `after` is in seconds, where the server said when to come back."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after


class Patience:
    """Bears so many failures in a row; a success in between renews it. `subject` is what the last error is about."""

    def __init__(self, subject: str, tries: int, pause: Pause, tell: Tell) -> None:
        self._subject = subject
        self._tries = tries
        self._pause = pause
        self._tell = tell
        self._failures = 0

    def renew(self) -> None:
        """Forget past failures: something came."""
        self._failures = 0

    def bear(self, failure: Transient) -> None:
        """Tell and wait before the next try. Raises HubUnreachable when there is no use in another one."""
        self._failures += 1
        if failure.after is not None and failure.after > LONGEST_REQUESTED:
            raise HubUnreachable(
                f"{self._subject}: {failure.reason}",
                hint=f"the hub asks to come back in {failure.after / 60:.0f} minutes; run this again then",
            )
        if self._failures >= self._tries:
            raise HubUnreachable(
                f"{self._subject}: {failure.reason}, {self._failures} times in a row",
                hint="look at the network and https://status.huggingface.co, then run this again; it goes on from here",
            )
        seconds = failure.after
        if seconds is None:
            seconds = min(FIRST_PAUSE * 2 ** (self._failures - 1), LONGEST_PAUSE)
        self._tell(f"{failure.reason}; trying again in {seconds:g} s")
        self._pause(seconds)

    def until_done(self, ask: Callable[[], T]) -> T:
        """What `ask` returns, called again after every Transient."""
        while True:
            try:
                return ask()
            except Transient as failure:
                self.bear(failure)

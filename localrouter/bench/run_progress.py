"""What a run is doing, for the person who waits for it: on stderr, with the seconds since the start."""

import sys
import time
from dataclasses import dataclass, field


@dataclass
class RunProgress:
    """Tells what happens next."""

    started: float = field(default_factory=time.monotonic)

    def say(self, what: str) -> None:
        """Say what begins now."""
        sys.stderr.write(f"[{time.monotonic() - self.started:5.0f} s] {what}\n")
        sys.stderr.flush()

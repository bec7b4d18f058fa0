"""Progress of a benchmark run on stderr, with the seconds since its start."""

import sys
import time
from dataclasses import dataclass, field


@dataclass
class RunProgress:
    """Printer of progress lines with the seconds since `started`."""

    started: float = field(default_factory=time.monotonic)

    def say(self, what: str) -> None:
        """Print what begins now."""
        sys.stderr.write(f"[{time.monotonic() - self.started:5.0f} s] {what}\n")
        sys.stderr.flush()

"""The program of a sandbox: answers one request after the other until its parent closes the pipe."""

import sys
from collections.abc import Callable, Iterator
from typing import BinaryIO

from localrouter.sandbox.framing import framed
from localrouter.sandbox.limits import cpu_time


def command(module: str, seconds: float) -> list[str]:
    """Return the command line that runs `module` of this package as a sandbox with `seconds` of CPU time a request."""
    return [sys.executable, "-m", module, f"{seconds:f}"]


def serve(answer: Callable[[bytes], bytes], requests: Iterator[bytes], replies: BinaryIO, seconds: float) -> None:
    """Answer each request with a framed reply. The kernel ends the process when one takes `seconds` of CPU time."""
    for request in requests:
        with cpu_time(seconds):
            reply = framed(answer(request))
        replies.write(reply)
        replies.flush()

"""A process for what somebody else wrote, in bounds of time and memory that the kernel keeps.

It is asked in frames over a pipe, and lives until the pipe is closed: its parent decides when it ends.
"""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

LENGTH_BYTES = 4


def framed(body: bytes) -> bytes:
    """Return a message as it crosses the pipe: 4 bytes of length, big-endian, and what it says."""
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def frames(stream: BinaryIO) -> Iterator[bytes]:
    """Yield what the messages say, until there are no more."""
    while len(length := stream.read(LENGTH_BYTES)) == LENGTH_BYTES:
        yield stream.read(int.from_bytes(length, "big"))


@contextmanager
def computing(seconds: float) -> Iterator[None]:
    """Have the kernel end this process, by SIGPROF, when what happens inside takes so many seconds of computing."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)


def confine(memory: int) -> None:
    """Bound the address space of this process to so many bytes; leave signals, and what a crash leaves, to others."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with suppress(ValueError, OSError):  # not every system knows this limit
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

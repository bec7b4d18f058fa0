"""Limits of a sandbox, set inside the child and enforced by the kernel: CPU time, address space, no core dump."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

OUT_OF_TIME = -signal.SIGPROF
"""Exit status, as `subprocess` reports it, of a child that used up its CPU time."""


@contextmanager
def cpu_time(seconds: float) -> Iterator[None]:
    """Limit the CPU time of the body of the `with`: after `seconds` the kernel ends this process with SIGPROF."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)


def confine(memory: int) -> None:
    """Limit the address space of this process to `memory` bytes, and ignore SIGINT and SIGTERM.

    A terminal and a service manager send these signals to the whole process group; the parent decides when a sandbox
    ends, and closes its pipe.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with suppress(ValueError, OSError):  # not every system has this limit
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

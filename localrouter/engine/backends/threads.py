"""Number of compute threads: the cores of the machine, and a choice by timings that is a pure function."""

import os
from collections.abc import Callable
from pathlib import Path


def fewest_fast_threads(cores: int, seconds_per_token: Callable[[int], float]) -> int:
    """Return the smallest of 1, 2, 4, ... `cores` threads that is within a fifth of the fastest.

    A thread that hardly helps is better left to the process that serves HTTP. Where cores are shared, the other threads
    wait for each additional one at every one of a step's hundreds of barriers.
    """
    choices = sorted({cores, *(1 << n for n in range(cores.bit_length()) if 1 << n <= cores)})
    seconds = {threads: seconds_per_token(threads) for threads in choices}
    fastest = min(seconds.values())
    return next(threads for threads in choices if seconds[threads] <= 1.2 * fastest)


def physical_cores() -> int:
    """Return the cores that this process may use; hyper-threads of one core count once where the system lists them."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    siblings = set()
    for cpu in usable:
        try:
            siblings.add(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text())
        except OSError:
            return len(usable)
    return len(siblings)

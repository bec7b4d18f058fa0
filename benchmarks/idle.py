"""CPU usage of idle processes."""

import time
from collections.abc import Sequence

import psutil


def cpu_share(pids: Sequence[int], seconds: float) -> float:
    """Return the share of one core that the processes use together over `seconds`."""
    processes = [psutil.Process(pid) for pid in pids]
    start, before = time.perf_counter(), sum(_cpu_seconds(process) for process in processes)
    time.sleep(seconds)
    return (sum(_cpu_seconds(process) for process in processes) - before) / (time.perf_counter() - start)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)

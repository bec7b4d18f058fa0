"""Throughput of the engine without a server and HTTP.

    python -m localrouter.bench.inprocess MODEL SEQUENCES TOKENS [THREADS]

The engine runs in a process of its own, as a worker does, so that the measuring process never loads llama.cpp.
Therefore this module alone may import the engine's internals.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from localrouter.bench.servers.processes import ProgramFailed
from localrouter.bench.words import text
from localrouter.engine.generation_request import GenerationRequest, Sampling, Segment
from localrouter.engine.messages import Event, Finished, Generate
from localrouter.load_options import LoadOptions

PROMPT_WORDS = 16


def engine_rate(model: Path, sequences: int, tokens: int, threads: int | None = None) -> float:
    """Return the engine's throughput for all sequences together in tokens per second, without prefill.

    The engine runs in a child process. Raises ProgramFailed.
    """
    command = [sys.executable, "-m", "localrouter.bench.inprocess", str(model), str(sequences), str(tokens)]
    command += [str(threads)] if threads else []
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise ProgramFailed(f"the engine ended with status {ran.returncode}:\n{ran.stderr[-2000:]}")
    return float(json.loads(ran.stdout.splitlines()[-1]))


def measure(model: str, sequences: int, tokens: int, threads: int | None = None) -> float:
    """Load the model into this process and return its throughput in tokens per second; see `engine_rate`."""
    from localrouter.engine.backends.llama.backend import LlamaBackend  # noqa: PLC0415
    from localrouter.engine.engine import Engine  # noqa: PLC0415 - native code, for the child process only

    engine = Engine(LlamaBackend(model, LoadOptions(threads=threads)))
    for number in range(sequences):
        prompt = [Segment(text(PROMPT_WORDS, number), control=True)]
        engine.submit(Generate(number, GenerationRequest(prompt, Sampling(), tokens)))
    while any(sequence.completion_tokens == 0 for sequence in [*engine.scheduler.waiting, *engine.scheduler.running]):
        engine.step()
    done = sum(sequence.completion_tokens for sequence in engine.scheduler.running)
    start = time.perf_counter()
    events: list[Event] = []
    while not engine.is_idle:
        events += engine.step()
    seconds = time.perf_counter() - start
    total = sum(event.usage.completion_tokens for event in events if isinstance(event, Finished))
    return (total - done) / seconds


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(sys.argv[1], *map(int, sys.argv[2:]))))

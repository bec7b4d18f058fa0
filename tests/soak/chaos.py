"""A soak: thousands of random requests and faults on an engine with llama.cpp, for one model of each kind of cache.

    python -m tests.soak.chaos --requests 2000 --seed 1 --model qwen3-tiny

A run is determined by its seed, because time is simulated too. Its parts have caches of different sizes and kinds.
"""

import argparse
import ctypes
import gc
import logging
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from msgspec.structs import replace

from localrouter.engine.backends.llama.backend import LlamaBackend

from .ledger import Record
from .models import MODELS, write
from .part import SETTINGS, Part, Setting
from .reference import Reference, Verdict
from .tally import Tally

VERIFIED = 40
"""Number of greedy outputs of each part that are verified by computing them again."""
ROUNDS = 2
"""Number of times that a long run goes through all settings, to compare its memory after the first and the last."""
REQUESTS_PER_PART = 20
"""Smallest part: with fewer requests loading the model would take longer than serving them."""
GROWTH = 24 << 20
"""Bytes by which memory may grow from the first round to the second."""


def run(path: str, count: int, seed: int, settings: Sequence[Setting] = SETTINGS) -> Tally:
    """Serve `count` requests with the model at `path`, and return statistics. Raises AssertionError."""
    tally, begin = Tally(), time.monotonic()
    parts = max(2, min(ROUNDS * len(settings), count // REQUESTS_PER_PART))
    for number in range(parts):
        share = count * (number + 1) // parts - count * number // parts
        try:
            _play_part(path, settings[number % len(settings)], share, seed + number, tally)
        except AssertionError as error:
            error.add_note(f"part {number} of {parts} of a run of {count} requests with seed {seed}")
            raise
        _measure_memory(tally)
    tally.seconds = time.monotonic() - begin
    if parts == ROUNDS * len(settings):
        assert tally.growth <= GROWTH, f"memory has grown by {tally.growth} bytes"
    assert len(set(tally.descriptors)) == 1, f"open descriptors: {tally.descriptors}"
    return tally


def _play_part(path: str, setting: Setting, count: int, seed: int, tally: Tally) -> None:
    backend = LlamaBackend(path, setting.options)
    part = Part(backend, setting, seed, tally)
    part.play(count)
    tally.peak = max(tally.peak, psutil.Process().memory_info().rss)
    backend.close()
    records = [*part.greedy()]
    random.Random(seed).shuffle(records)
    records.sort(key=lambda record: not (record.end and record.end.usage.cached_tokens))
    verdict = _verify(path, setting, records[:VERIFIED])
    tally.verdicts.append(verdict)
    verdict.check()


def _verify(path: str, setting: Setting, records: Sequence[Record]) -> Verdict:
    """Compute some outputs again, one at a time, on a new backend without backend samplers; return how they compare."""
    backend, verdict = LlamaBackend(path, replace(setting.options, gpu_sampling="off")), Verdict()
    for record in records:
        Reference(backend, together=setting.together).verify(
            record.tokens[: record.prompt_tokens], record.output, verdict
        )
    backend.close()
    return verdict


def _measure_memory(tally: Tally) -> None:
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc keeps a varying amount of freed memory
        trim(0)
    process = psutil.Process()
    tally.resident.append(process.memory_info().rss)
    tally.descriptors.append(process.num_fds())


def main() -> None:
    """Run from the command line, and write a line for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000, help="requests to each model (2000)")
    parser.add_argument("--seed", type=int, default=1, help="another seed is another run (1)")
    parser.add_argument("--model", nargs="+", choices=MODELS, default=MODELS, help="shapes of models (all three)")
    asked = parser.parse_args()
    logging.disable(logging.ERROR)  # the injected faults are logged as errors
    with tempfile.TemporaryDirectory() as folder:
        for model in asked.model:
            tally = run(write(Path(folder), model), asked.requests, asked.seed)
            sys.stdout.write(tally.line(model) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()

"""Thousands of random requests at an engine on llama.cpp, on one model of each kind of memory.

    python -m tests.soak.chaos --requests 2000 --seed 1 --model qwen3-tiny

A run is the same whenever its seed is: time is made up too. Its parts have caches of different sizes and kinds.
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
from .tally import Tally
from .truth import Truth, Verdict

JUDGED = 40
"""Greedy answers of each part that are computed again."""
ROUNDS = 2
"""How often a long run goes through all settings. The second time it should need no more memory than the first."""
REQUESTS_PER_PART = 20
"""With fewer, loading would take longer than they do."""
GROWTH = 24 << 20
"""Bytes by which memory may differ after parts that do the same."""


def run(path: str, count: int, seed: int, settings: Sequence[Setting] = SETTINGS) -> Tally:
    """Serve so many requests with the model at `path`, and return what was counted. Raises AssertionError."""
    tally, begin = Tally(), time.monotonic()
    parts = max(2, min(ROUNDS * len(settings), count // REQUESTS_PER_PART))
    for number in range(parts):
        share = count * (number + 1) // parts - count * number // parts
        try:
            _play(path, settings[number % len(settings)], share, seed + number, tally)
        except AssertionError as error:
            error.add_note(f"part {number} of {parts} of a run of {count} requests with seed {seed}")
            raise
        _look(tally)
    tally.seconds = time.monotonic() - begin
    if parts == ROUNDS * len(settings):
        assert tally.growth <= GROWTH, f"memory has grown by {tally.growth} bytes"
    assert len(set(tally.descriptors)) == 1, f"open descriptors: {tally.descriptors}"
    return tally


def _play(path: str, setting: Setting, count: int, seed: int, tally: Tally) -> None:
    backend = LlamaBackend(path, setting.options)
    part = Part(backend, setting, seed, tally)
    part.play(count)
    tally.peak = max(tally.peak, psutil.Process().memory_info().rss)
    backend.close()
    answers = [*part.greedy()]
    random.Random(seed).shuffle(answers)
    answers.sort(key=lambda record: not (record.end and record.end.usage.cached_tokens))
    judged = answers[:JUDGED]
    verdict = _judge(path, setting, judged)
    tally.verdicts.append(verdict)
    verdict.check()


def _judge(path: str, setting: Setting, records: Sequence[Record]) -> Verdict:
    """Compute some answers again, alone, on a backend that has never seen anything else and samples nothing itself."""
    backend, verdict = LlamaBackend(path, replace(setting.options, gpu_sampling="off")), Verdict()
    for record in records:
        Truth(backend, together=setting.together).judge(record.tokens[: record.prompt_tokens], record.answer, verdict)
    backend.close()
    return verdict


def _look(tally: Tally) -> None:
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc keeps what was freed, now more and now less
        trim(0)
    process = psutil.Process()
    tally.resident.append(process.memory_info().rss)
    tally.descriptors.append(process.num_fds())


def main() -> None:
    """Run from the command line: a line for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000, help="requests to each model (2000)")
    parser.add_argument("--seed", type=int, default=1, help="another seed is another run (1)")
    parser.add_argument("--model", nargs="+", choices=MODELS, default=MODELS, help="shapes of models (all three)")
    asked = parser.parse_args()
    logging.disable(logging.ERROR)  # faults on purpose
    with tempfile.TemporaryDirectory() as folder:
        for model in asked.model:
            tally = run(write(Path(folder), model), asked.requests, asked.seed)
            sys.stdout.write(tally.line(model) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()

"""Shared prefixes on llama.cpp itself: no token is computed twice, and outputs are as they are without a cache.

Rounding depends on which rows are computed together, with cache hits and without. So each comparison is relative to how
far two computations of the same prompt without a hit, in different chunks, are apart.
"""

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import count as counting
from pathlib import Path

import numpy as np
import pytest
from conversations import end_of, forget, small_model
from numpy.typing import NDArray

import localrouter
from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.engine.engine import Engine
from localrouter.engine.generation_request import GenerationRequest, Sampling, Segment
from localrouter.engine.messages import Finished, Generate, Piece
from localrouter.engine.scheduling.batch import Batch
from localrouter.engine.scheduling.batch_planner import BatchPlanner
from localrouter.load_options import LoadOptions

DEMO = str(Path(localrouter.__file__).parent / "assets" / "demo.gguf")
SHARED = 2000
KINDS = ["qwen3-tiny", "qwen35moe-tiny", "gemma4-tiny"]
COUNTRIES = ["Italy", "Japan", "Peru", "Norway", "Kenya", "Chile", "France", "Spain", "Egypt", "India"]
numbers = counting(1)


class Recorder:
    """An engine that records its rows and logits."""

    def __init__(self, backend: LlamaBackend) -> None:
        self.engine = Engine(backend)
        self.backend = backend
        self.rows = 0
        self.logits: list[NDArray[np.float32]] = []
        decode = backend.decode

        def recording(batch: Batch) -> NDArray[np.float32]:
            self.rows += len(batch)
            logits = decode(batch)
            self.logits += [row.copy() for row in logits]
            return logits

        backend.decode = recording  # type: ignore[method-assign]

    def run(self, *prompts: list[int], max_tokens: int = 1) -> list[Finished]:
        """Submit these prompts together, and return their Finished events."""
        self.rows, self.logits = 0, []
        greedy = Sampling(temperature=0)
        commands = [
            Generate(next(numbers), GenerationRequest([], greedy, max_tokens, tokens=list(prompt)))
            for prompt in prompts
        ]
        events = [self.engine.submit(command) for command in commands]
        while not self.engine.is_idle:
            events += self.engine.step()
            self.engine.scheduler.check()
        return [end_of(events, command.id) for command in commands]

    def alone(self, prompt: list[int], rows: int) -> NDArray[np.float32]:
        """Return the probabilities of the next token, computed in chunks of so many rows without a cache hit."""
        forget(self.engine)
        limits = replace(self.engine.scheduler.limits, prefill_rows=rows, pads_to_tile=False)
        self.engine.scheduler.planner = BatchPlanner(limits, 0.2)
        self.run(prompt)
        return softmax(self.logits[0])


def softmax(row: NDArray[np.float32]) -> NDArray[np.float32]:
    weights = np.exp(row - row.max())
    return np.asarray(weights / weights.sum(), np.float32)


def apart(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the total variation distance: 0 for equal distributions, 1 for disjoint ones."""
    return float(abs(one - other).sum() / 2)


def prompt_of(backend: LlamaBackend, seed: int, length: int = 20) -> list[int]:
    """Return a prompt that begins with `SHARED` tokens common to all seeds, and goes on with its own."""
    shared, own = random.Random(0), random.Random(seed)
    end = next(token for token in range(backend.info.vocabulary) if backend.is_end(token))
    text = [token for token in range(300, backend.info.vocabulary) if not backend.is_end(token)]
    return [*shared.choices(text, k=SHARED - 1), end, *own.choices(text, k=length)]


@pytest.fixture(scope="module", params=KINDS)
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaBackend]:
    path = small_model(tmp_path_factory.mktemp("model"), request.param)
    backend = LlamaBackend(path, LoadOptions(threads=1, cells=8192, context=4096, max_sequences=8))
    yield backend
    backend.close()


@pytest.fixture
def recorder(backend: LlamaBackend) -> Iterator[Recorder]:
    decode = backend.decode
    recorder = Recorder(backend)
    yield recorder
    forget(recorder.engine)
    backend.decode = decode  # type: ignore[method-assign]


def test_a_second_request_computes_only_tokens_after_the_shared_prefix(recorder: Recorder) -> None:
    first, second = (prompt_of(recorder.backend, seed) for seed in (1, 2))
    recorder.run(first)

    [end] = recorder.run(second)

    assert end.usage.cached_tokens == SHARED
    assert recorder.rows == len(second) - SHARED


def test_requests_that_arrive_together_compute_their_shared_prefix_once(recorder: Recorder) -> None:
    prompts = [prompt_of(recorder.backend, seed) for seed in range(8)]

    ends = recorder.run(*prompts)

    assert sorted(end.usage.cached_tokens for end in ends) == [0, *[SHARED] * 7]
    assert recorder.rows == SHARED + sum(len(prompt) - SHARED for prompt in prompts)


def test_the_next_turn_computes_only_tokens_after_the_last_one(recorder: Recorder) -> None:
    prompt = prompt_of(recorder.backend, 1)
    tokens = list(prompt)
    recorder.engine.submit(Generate(next(numbers), GenerationRequest([], Sampling(temperature=0), 10, tokens=tokens)))
    while not recorder.engine.is_idle:
        recorder.engine.step()
    computed = len(tokens) - 1

    [end] = recorder.run([*tokens, *prompt[:5]])

    assert end.usage.cached_tokens == computed > len(prompt)


@pytest.mark.slow
def test_a_cache_hit_changes_probabilities_no_more_than_other_chunks_do(recorder: Recorder) -> None:
    for seed in range(2):
        prompt = prompt_of(recorder.backend, seed)
        cuts = [recorder.alone(prompt, rows) for rows in (128, 96, 50)]
        forget(recorder.engine)
        recorder.run(prompt_of(recorder.backend, seed + 100))

        [end] = recorder.run(prompt)

        assert end.usage.cached_tokens == SHARED
        noise = max(apart(one, other) for one in cuts for other in cuts)
        assert max(apart(softmax(recorder.logits[0]), cut) for cut in cuts) <= max(2 * noise, 1e-3) < 0.3


def test_a_source_is_unchanged_by_its_forks(recorder: Recorder) -> None:
    """A prompt has the same probabilities after other sequences have forked it."""
    prompt = prompt_of(recorder.backend, 1)
    [alone] = [recorder.alone(prompt, 128)]
    forget(recorder.engine)
    recorder.run(prompt)
    recorder.run(*(prompt_of(recorder.backend, seed) for seed in range(2, 6)), max_tokens=5)

    recorder.run([*prompt[:-1], prompt[-1]])

    assert apart(softmax(recorder.logits[0]), alone) < 0.1


def conversations(count: int) -> list[list[str]]:
    """Return conversations as lists of questions, to which the demo model has clear answers."""
    draw = random.Random(5)
    asked = ["What is the capital of {}?", "Hello!", "My name is {}.", "What is my name?", "Say {} again"]
    return [
        [draw.choice(asked).format(draw.choice(COUNTRIES)) for _ in range(draw.randint(1, 4))] for _ in range(count)
    ]


def play(turns: list[list[str]], *, cached: bool) -> tuple[list[list[str]], int]:
    """Run the conversations one after the other; return all outputs, and the number of cached prompt tokens."""
    backend = LlamaBackend(DEMO, LoadOptions(threads=1, cells=8192, max_sequences=8))
    engine, answers, shared = Engine(backend), list[list[str]](), 0
    for questions in turns:
        text, said = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n", list[str]()
        for question in questions:
            text += f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
            events = [
                engine.submit(
                    Generate(next(numbers), GenerationRequest([Segment(text, True)], Sampling(temperature=0), 40))
                )
            ]
            while not engine.is_idle:
                events += engine.step()
            said.append("".join(event.text for event in events if isinstance(event, Piece)))
            shared += sum(event.usage.cached_tokens for event in events if isinstance(event, Finished))
            text += f"{said[-1]}<|im_end|>\n"
            if not cached:
                forget(engine)
        answers.append(said)
    backend.close()
    return answers, shared


@pytest.mark.slow
def test_greedy_answers_are_the_same_with_hits_and_without() -> None:
    turns = conversations(200)

    (with_hits, shared), (without, nothing) = play(turns, cached=True), play(turns, cached=False)

    assert with_hits == without
    assert shared > 0 == nothing

"""Each kind of memory on a GPU: the engine's KV-cache operations there, and that outputs stay right."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from soak.chaos import run
from soak.part import Setting
from soak.reference import Reference, Verdict
from tiny_models import KINDS, WORDS, write

from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.engine.engine import Engine
from localrouter.engine.generation_request import GenerationRequest, Sampling
from localrouter.engine.messages import Finished, Generate, TokenUsage
from localrouter.load_options import LoadOptions
from localrouter.memory.devices import is_built_for_gpu

pytestmark = pytest.mark.skipif(not is_built_for_gpu(), reason="llama.cpp is built for the CPU; make test-gpu")
OPTIONS = LoadOptions(threads=1, cells=512, context=256, max_sequences=8, gpu_sampling="off")
SETTINGS = {
    "as it comes": OPTIONS,
    "a quantized cache": replace(OPTIONS, kv_type="q8_0"),
    "no flash attention": replace(OPTIONS, flash_attention="off"),
    "windows only": replace(OPTIONS, swa_full="off"),
    "one layer on the GPU": replace(OPTIONS, gpu_layers=1),
}
END_OF_TURN = WORDS - 1
WORTH_TRYING = [
    *((kind, "as it comes") for kind in KINDS),
    *((kind, "a quantized cache") for kind in KINDS),
    *((kind, "one layer on the GPU") for kind in KINDS),
    ("gemma4", "windows only"),
    ("qwen3", "no flash attention"),
    ("qwen35moe", "no flash attention"),
]
GREEDY = Sampling(temperature=0)
CHAOS = (
    Setting(256, 4, True, True, 1 << 20, 0.5, 300, 1e-3, context=200, scale=0.18, together=2),
    Setting(512, 2, True, False, 64 << 20, 1 / 16, 600, 2e-2, context=200, scale=0.18, together=2),
)


@dataclass
class Answer:
    """What became of a prompt."""

    prompt: list[int]
    tokens: list[int]
    usage: TokenUsage


class Station:
    """An engine on a model of one kind, and what it did to its cache."""

    def __init__(self, backend: LlamaBackend) -> None:
        self.backend, self.engine = backend, Engine(backend)
        self.preempted = 0
        self._number = 0
        setting_back = self.engine.scheduler.preempt_newest

        def counted() -> Any:
            sequence = setting_back()
            self.preempted += sequence is not None
            return sequence

        self.engine.scheduler.preempt_newest = counted  # type: ignore[method-assign]

    def answer(self, *prompts: list[int], most: int = 6, sampling: Sampling = GREEDY) -> list[Answer]:
        """Answer prompts together."""
        lists = [list(prompt) for prompt in prompts]
        ends: dict[int, Finished] = {}
        for tokens in lists:
            self._number += 1
            self.engine.submit(Generate(self._number, GenerationRequest([], sampling, most, tokens=tokens)))
        while not self.engine.is_idle:
            for event in self.engine.step():
                if isinstance(event, Finished):
                    assert event.reason in ("stop", "length"), event
                    ends[event.id] = event
            self.engine.scheduler.check()
        first = self._number - len(prompts) + 1
        return [
            Answer(prompt, tokens[len(prompt) :], ends[first + index].usage)
            for index, (prompt, tokens) in enumerate(zip(prompts, lists, strict=True))
        ]

    def rest(self) -> None:
        """Let the engine do its idle work to the end."""
        while self.engine.run_idle_work():
            pass


def prompt_of(seed: int, length: int) -> list[int]:
    return random.Random(seed).choices(range(300, WORDS - 3), k=length)


@contextmanager
def station(path: str, options: LoadOptions = OPTIONS) -> Iterator[Station]:
    backend = LlamaBackend(path, options)
    try:
        yield Station(backend)
    finally:
        backend.close()


def judge(path: str, options: LoadOptions, answers: list[Answer]) -> None:
    """Compare greedy outputs with those of an engine that computes nothing else, within this device's noise."""
    backend, verdict = LlamaBackend(path, options), Verdict()
    try:
        for answer in answers:
            Reference(backend, together=2).verify(answer.prompt, answer.tokens, verdict)
    finally:
        backend.close()
    verdict.check()


@pytest.fixture(params=KINDS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return write(tmp_path, request.param)


@pytest.mark.parametrize(("kind", "setting"), WORTH_TRYING)
def test_a_repeated_prompt_is_cached_and_has_the_same_output(tmp_path: Path, kind: str, setting: str) -> None:
    path, options = write(tmp_path, kind), SETTINGS[setting]
    prompt = [*prompt_of(1, 20), END_OF_TURN, *prompt_of(2, 10)]
    with station(path, options) as here:
        device = here.backend.info.device
        [cold], [hit] = here.answer(prompt), here.answer(prompt)

    assert device.offloaded_layers == (1 if setting == "one layer on the GPU" else device.layers)
    assert cold.usage.cached_tokens == 0
    assert hit.usage.cached_tokens > 20
    judge(path, options, [cold, hit])


def test_eight_requests_at_once_have_the_outputs_of_each_alone(path: str) -> None:
    shared = prompt_of(0, 33)
    prompts = [[*shared, *prompt_of(seed, 10)] for seed in range(1, 9)]
    with station(path) as here:
        together = here.answer(*prompts)

    assert sum(answer.usage.cached_tokens for answer in together) >= 7 * len(shared), "computed once for all"
    judge(path, OPTIONS, together)


def test_a_preempted_request_has_the_same_output(path: str) -> None:
    prompts = [
        prompt_of(seed, 12) for seed in range(1, 5)
    ]  # so short that all begin at once however slow the device is
    with station(path, replace(OPTIONS, cells=256)) as here:
        answers = here.answer(*prompts, most=90)
        assert here.preempted
    judge(path, OPTIONS, answers)


def test_evicted_cells_are_restored_from_the_host_store(tmp_path: Path) -> None:
    """Of windows and recurrent layers llama.cpp copies no part: models with these have checkpoints instead."""
    path, options = write(tmp_path, "qwen3"), replace(OPTIONS, cells=256)
    prompt, others = prompt_of(1, 100), [prompt_of(seed, 120) for seed in (2, 3, 4)]
    with station(path, options) as here:
        here.answer(prompt)
        here.rest()
        for other in others:
            here.answer(other)
        [answer] = here.answer(prompt)

    assert answer.usage.cached_tokens > 90
    judge(path, options, [answer])


@pytest.mark.parametrize("kind", ["gemma4", "qwen35moe"])
def test_a_beginning_that_many_share_has_a_checkpoint(kind: str, tmp_path: Path) -> None:
    path, options = write(tmp_path, kind), replace(OPTIONS, swa_full="off")
    shared = [*prompt_of(0, 60), END_OF_TURN]
    first, second = ([*shared, *prompt_of(seed, 12)] for seed in (1, 2))
    with station(path, options) as here:
        kept = here.backend.save_state
        checkpoints = []

        def noted(slot: int) -> Any:
            checkpoints.append(slot)
            return kept(slot)

        here.backend.save_state = noted  # type: ignore[method-assign]
        here.answer(first)
        [answer] = here.answer(second)

    assert checkpoints
    assert answer.usage.cached_tokens == len(shared)
    judge(path, options, [answer])


def test_random_requests_with_faults_and_cancels_leave_nothing_behind(path: str) -> None:
    tally = run(path, 40, seed=3, settings=CHAOS)

    assert tally.ends.keys() >= {"cancelled", "length", "stop"}
    assert tally.faults["forks"]
    assert tally.evicted
    assert sum(verdict.outputs for verdict in tally.verdicts) > 5

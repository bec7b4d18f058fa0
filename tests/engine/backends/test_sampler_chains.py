"""Sampler chains of llama.cpp sample as the sampler does. On a CPU they work as on a GPU, only slowly."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conversations import ask, end_of, forget, prompt, run, text_of
from sampling_reference import exact

import localrouter
from localrouter.engine.backends.base import Logits
from localrouter.engine.backends.echo import EchoBackend
from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.engine.backends.llama.sampler_chains import sample_faster
from localrouter.engine.engine import Engine
from localrouter.engine.generation_request import GenerationRequest, Grammar, Sampling
from localrouter.engine.grammar.constraint import Grammars
from localrouter.engine.messages import Generate, PromptLogprobs
from localrouter.engine.sampling.sampler import NotFinite
from localrouter.engine.scheduling.batch import Batch
from localrouter.engine.scheduling.sequence import Sequence
from localrouter.load_options import LoadOptions

DEMO = str(Path(localrouter.__file__).parent / "assets" / "demo.gguf")
ROWS = 8
SLOTS = list(range(ROWS))


def open_demo(gpu_sampling: str) -> LlamaBackend:
    options = LoadOptions(threads=1, cells=2048, max_sequences=ROWS, gpu_sampling=gpu_sampling)  # type: ignore[arg-type]
    return LlamaBackend(DEMO, options)


@pytest.fixture(scope="module")
def backend() -> Iterator[LlamaBackend]:
    backend = open_demo("on")
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def plain() -> Iterator[LlamaBackend]:
    backend = open_demo("auto")  # which is off on a CPU
    yield backend
    backend.close()


def first_tokens(sampling: Sampling) -> Batch:
    """Return a batch with the first token of a text in every slot, and the parameters for the token after it."""
    sequences = [Sequence(slot, [300], 1, sampling, slot=slot) for slot in SLOTS]
    outputs = list(range(ROWS))
    return Batch([300] * ROWS, [0] * ROWS, SLOTS, SLOTS, sampled=sequences, sampled_outputs=outputs)


def sampled_token(backend: LlamaBackend, sampling: Sampling, rounds: int) -> list[int | None]:
    """Return the tokens sampled after the first token of a text, in all slots, so many times."""
    tokens: list[int | None] = []
    for _ in range(rounds):
        backend.decode(first_tokens(sampling))
        tokens += [backend.sampled_token(output) for output in range(ROWS)]
        for slot in SLOTS:
            backend.clear(slot)
    return tokens


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(top_k=8),
        Sampling(temperature=0.7, top_k=40, top_p=0.8),
        Sampling(temperature=1.5, top_k=12, min_p=0.1),
        Sampling(temperature=1.2, top_k=30, min_p=0.02, top_p=0.9),
    ],
)
def test_sampled_tokens_follow_the_requested_distribution(
    backend: LlamaBackend, plain: LlamaBackend, sampling: Sampling
) -> None:
    row = plain.decode(Batch(tokens=[300], positions=[0], slots=[0], outputs=[0]))[0]
    plain.clear(0)
    chances = exact(row, sampling)
    tokens = sampled_token(backend, sampling, rounds=150)

    seen = np.bincount(np.array(tokens, int), minlength=len(chances))
    possible = chances > 0
    expected = chances[possible] * len(tokens)
    assert seen[~possible].sum() == 0
    chi_square = float(((seen[possible] - expected) ** 2 / expected).sum())
    degrees = int(possible.sum()) - 1
    assert chi_square < degrees + 5 * np.sqrt(2 * degrees) + 5


def answers(backend: LlamaBackend, *commands: Generate) -> list[str]:
    """Return the output of each command, and free all cells."""
    engine = Engine(backend)
    events = run(engine, *commands)
    forget(engine)
    return [text_of(events, command.id) for command in commands]


def test_greedy_outputs_are_the_same_as_those_of_the_sampler(backend: LlamaBackend, plain: LlamaBackend) -> None:
    commands = [
        Generate(number, GenerationRequest(prompt(f"What is the capital of {country}?"), Sampling(temperature=0), 30))
        for number, country in enumerate(("Italy", "Japan", "Peru"))
    ]

    assert answers(backend, *commands) == answers(plain, *commands)


def test_requests_that_need_all_logits_run_beside_those_with_sampler_chains(backend: LlamaBackend) -> None:
    question = prompt("What is the capital of Italy?")
    said = answers(
        backend,
        Generate(1, GenerationRequest(question, Sampling(temperature=0), 20)),
        Generate(2, GenerationRequest(question, Sampling(temperature=0, logprobs=1), 20)),
        Generate(3, GenerationRequest(question, Sampling(top_k=5, top_p=0.1), 20)),
        Generate(4, GenerationRequest(question, Sampling(top_k=5), 20, Grammar('start: "yes" | "no"'))),
    )

    assert said[:3] == ["The capital of Italy is Rome."] * 3
    assert said[3] in {"yes", "no"}


def test_parameters_without_a_chain_are_left_to_the_sampler(backend: LlamaBackend) -> None:
    assert set(sampled_token(backend, Sampling(), rounds=1)) == {None}


def test_a_slot_keeps_its_chain_for_the_next_request_of_its_kind(
    backend: LlamaBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled_token(backend, Sampling(top_k=7), rounds=1)
    monkeypatch.setattr("localrouter.engine.backends.llama.sampler_chains._chain", pytest.fail)

    assert None not in sampled_token(backend, Sampling(top_k=7), rounds=1)


def test_on_a_cpu_no_chain_samples(plain: LlamaBackend) -> None:
    assert set(sampled_token(plain, Sampling(top_k=7), rounds=1)) == {None}


class Chains:
    """Draws that a test decides on."""

    def __init__(self, tokens: list[int]) -> None:
        self.tokens = tokens

    def token(self, output: int) -> int:
        return self.tokens[output]


@pytest.mark.parametrize("gains", [True, False])
@pytest.mark.parametrize("tokens", [[3, 1], [3, 2]])
def test_the_probe_demands_right_tokens_in_less_time(
    tokens: list[int], gains: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("localrouter.engine.backends.llama.sampler_chains.time.perf_counter", lambda: clock[0])

    def decode(batch: Batch, chain_params_of_slots: list[object]) -> Logits:
        clock[0] += 1 if chain_params_of_slots[0] and gains else 2
        return np.eye(4, dtype=np.float32)[[3, 1]]

    assert sample_faster(Chains(tokens), decode, rows=2) is (tokens == [3, 1] and gains)  # type: ignore[arg-type]


def test_logits_that_are_not_finite_end_one_request_and_not_its_neighbour() -> None:
    class Nonsense(EchoBackend):
        failures = 1

        def sampled_token(self, output: int) -> int | None:
            if self.failures:
                self.failures -= 1
                raise NotFinite
            return None

    events = run(Engine(Nonsense(LoadOptions())), ask(1, "hello"), ask(2, "world"))

    assert end_of(events, 1).code == "not_finite"
    assert text_of(events, 2) == "world"


def test_a_request_with_a_grammar_has_no_chain() -> None:
    grammars = Grammars(EchoBackend(LoadOptions()).grammar_vocabulary)
    constraint = grammars.constraint(Grammar('start: "yes"'))

    assert Sequence(1, [1], 1, Sampling(top_k=2)).chain_params
    assert Sequence(1, [1], 1, Sampling(top_k=2), constraint).chain_params is None


def test_a_prompt_is_scored_in_a_slot_that_has_a_sampler_chain(backend: LlamaBackend, plain: LlamaBackend) -> None:
    greedy = Generate(1, GenerationRequest(prompt("Hello"), Sampling(temperature=0), 3))
    scored = Generate(2, GenerationRequest(prompt("Hello"), Sampling(temperature=0), 3, prompt_logprobs=0))
    values = []
    for each in (backend, plain):
        engine = Engine(each)
        events = [*run(engine, greedy), *run(engine, scored), *run(engine, greedy)]
        told = [event for event in events if isinstance(event, PromptLogprobs)]
        values.append([token.logprob for event in told for token in event.tokens])
        assert text_of(events, 1) == 2 * text_of(events, 2)
        forget(engine)

    assert len(values[0]) > 5
    assert values[0] == pytest.approx(values[1], abs=0.01)

"""Sliding-window layers that hold their window only (`swa_full=off`): a fork is correct, or it is refused.

Without flash attention the random model computes nearly the same wherever its cells are and whatever its chunks are. A
missing window changes the probabilities by much more.
"""

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import count as counting

import msgspec
import numpy as np
import pytest
from conversations import end_of, forget, small_model
from numpy.typing import NDArray

from localrouter.engine.backends.base import LoadError, Logits
from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.engine.engine import Engine
from localrouter.engine.generation_request import GenerationRequest, Sampling
from localrouter.engine.messages import Event, Generate
from localrouter.engine.scheduling.batch import Batch
from localrouter.load_options import LoadOptions
from localrouter.memory.plan import KV_TYPES

OPTIONS = LoadOptions(
    threads=1, cells=8192, context=4096, max_sequences=4, swa_full="off", flash_attention="off", extra_buffers="off"
)
LENGTH, WINDOW = 1200, 128
WINDOW_CELLS = 1536
"""Cells of sliding-window layers: windows of 8 slots and a batch of 260 rows, padded."""
NOISE = 0.01
"""Largest distance of the distributions of one prompt in different chunks."""
numbers = counting(1)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_model(tmp_path_factory.mktemp("model"), "gemma4-tiny")


@pytest.fixture(scope="module")
def loaded(path: str) -> Iterator[LlamaBackend]:
    backend = LlamaBackend(path, OPTIONS)
    yield backend
    backend.close()


@pytest.fixture
def backend(loaded: LlamaBackend) -> Iterator[LlamaBackend]:
    yield loaded
    for slot in range(loaded.limits.slots):
        loaded.clear(slot)


def tokens(length: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(300, 4000), k=length)


def prefill(backend: LlamaBackend, slot: int, text: list[int], start: int = 0) -> NDArray[np.float32]:
    """Compute the tokens of a text from position `start` on, and return the probabilities of the next token."""
    for first in range(start, len(text), 100):
        positions = [*range(first, min(first + 100, len(text)))]
        rows = [text[position] for position in positions]
        logits = backend.decode(Batch(rows, positions, [slot] * len(rows), [len(rows) - 1])).copy()
    return softmax(logits[0])


def softmax(row: NDArray[np.float32]) -> NDArray[np.float32]:
    weights = np.exp(row - row.max())
    return np.asarray(weights / weights.sum(), np.float32)


def apart(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the total variation distance: 0 for equal distributions, 1 for disjoint ones."""
    return float(abs(one - other).sum() / 2)


def alone(backend: LlamaBackend, text: list[int]) -> NDArray[np.float32]:
    """Return the probabilities after a text, computed in a slot of its own."""
    found = prefill(backend, backend.limits.slots - 1, text)
    backend.clear(backend.limits.slots - 1)
    return found


def lose_windows(backend: LlamaBackend) -> None:
    """Compute so much in other slots that llama.cpp reuses the cells that no window needs any more."""
    for slot in (1, 2):
        prefill(backend, slot, tokens(LENGTH, seed=slot))


def test_windows_limit_the_number_of_slots(backend: LlamaBackend, path: str) -> None:
    many = LlamaBackend(path, LoadOptions(threads=1, cells=1024, swa_full="off"))
    assert (many.limits.running, many.limits.slots) == (8, 12)
    assert (backend.limits.running, backend.limits.slots) == (4, 8)
    many.close()


@pytest.mark.parametrize("count", [1, WINDOW - 1, WINDOW, 1000, LENGTH])
def test_a_fork_is_correct_while_the_window_before_it_is_held(backend: LlamaBackend, count: int) -> None:
    text = tokens(LENGTH)
    other = [*text[:count], *tokens(3, seed=9)]
    truth = alone(backend, other)
    prefill(backend, 0, text)

    assert backend.fork(0, 3, count, None)

    assert apart(prefill(backend, 3, other, count), truth) < NOISE


def test_the_window_before_a_tip_is_never_lost(backend: LlamaBackend) -> None:
    text = tokens(LENGTH)
    prefill(backend, 0, text)
    lose_windows(backend)
    other = [*text, *tokens(3, seed=9)]

    assert backend.fork(0, 3, LENGTH, None)

    assert apart(prefill(backend, 3, other, LENGTH), alone(backend, other)) < NOISE


@pytest.mark.parametrize("count", [500, LENGTH - WINDOW, LENGTH - 1])
def test_a_fork_whose_window_is_lost_is_refused(backend: LlamaBackend, count: int) -> None:
    prefill(backend, 0, tokens(LENGTH))
    lose_windows(backend)

    assert not backend.fork(0, 3, count, None)
    assert backend.cells_of(3) == 0


def test_llama_cpp_itself_would_compute_wrong_probabilities_after_such_a_fork(
    backend: LlamaBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LlamaBackend, "_holds_enough", lambda *_: True)
    text = tokens(LENGTH)
    prefill(backend, 0, text)
    lose_windows(backend)

    assert backend.fork(0, 3, LENGTH - 100, None)  # 100 of the 127 positions before it are missing

    assert apart(prefill(backend, 3, text[:-99], LENGTH - 100), alone(backend, text[:-99])) > 10 * NOISE


@pytest.mark.parametrize("count", [50, WINDOW, 1000])
def test_a_checkpoint_makes_a_fork_correct_when_the_window_is_lost(backend: LlamaBackend, count: int) -> None:
    text = tokens(LENGTH)
    prefill(backend, 0, text[:count])
    checkpoint = backend.save_state(0)
    assert checkpoint is not None
    prefill(backend, 0, text, count)
    lose_windows(backend)
    other = [*text[:count], *tokens(3, seed=9)]

    assert backend.fork(0, 3, count, checkpoint)

    assert apart(prefill(backend, 3, other, count), alone(backend, other)) < NOISE
    backend.discard_state(checkpoint)


def test_a_source_is_unchanged_by_a_fork_from_a_checkpoint(backend: LlamaBackend) -> None:
    text = tokens(LENGTH)
    prefill(backend, 0, text[:1000])
    checkpoint = backend.save_state(0)
    assert checkpoint is not None
    prefill(backend, 0, text[:-1], 1000)
    backend.fork(0, 3, 1000, checkpoint)
    prefill(backend, 3, [*text[:1000], *tokens(300, seed=9)], 1000)

    assert apart(prefill(backend, 0, text, LENGTH - 1), alone(backend, text)) < NOISE
    backend.discard_state(checkpoint)


def test_a_fork_from_a_checkpoint_without_room_for_its_window_is_refused(backend: LlamaBackend) -> None:
    """All cells of windows are held by two slots each, so that llama.cpp may not reuse them."""
    prefill(backend, 0, tokens(1000))
    checkpoint = backend.save_state(0)
    assert checkpoint is not None
    rest = WINDOW_CELLS - 1000 - 30
    prefill(backend, 1, tokens(rest, seed=1))
    backend.fork(0, 2, 1000, None)
    backend.fork(1, 3, rest, None)
    prefill(backend, 4, tokens(30, seed=4))

    assert not backend.fork(0, 5, 1000, checkpoint)
    assert backend.cells_of(5) == 0
    backend.discard_state(checkpoint)


def run(engine: Engine, *prompts: list[int], max_tokens: int = 1) -> list[Event]:
    """Submit these prompts together, and return all events."""
    greedy = Sampling(temperature=0)
    commands = [
        Generate(next(numbers), GenerationRequest([], greedy, max_tokens, tokens=list(prompt))) for prompt in prompts
    ]
    events = [engine.submit(command) for command in commands]
    while not engine.is_idle:
        events += engine.step()
        engine.scheduler.check()
    assert all(end_of(events, command.id).reason in {"stop", "length"} for command in commands)
    return events


@pytest.mark.parametrize("checkpoints", [False, True])
def test_conversations_with_a_shared_prefix_have_the_probabilities_that_they_have_alone(
    backend: LlamaBackend, monkeypatch: pytest.MonkeyPatch, *, checkpoints: bool
) -> None:
    prompts = [[*tokens(900), *tokens(40, seed=seed)] for seed in range(1, 7)]
    expected = [alone(backend, text) for text in prompts]
    found: list[NDArray[np.float32]] = []
    decode = backend.decode

    def recording(batch: Batch) -> Logits:
        logits = decode(batch)
        found.extend(softmax(row) for row in logits)
        return logits

    monkeypatch.setattr(backend, "decode", recording)
    monkeypatch.setattr(backend, "limits", replace(backend.limits, has_sliding_window=checkpoints, state_bytes=1 << 30))
    engine = Engine(backend)

    run(engine, *prompts)

    assert len(found) == len(expected)
    assert max(min(apart(one, other) for other in found) for one in expected) < NOISE
    forget(engine)


@pytest.mark.slow
def test_windows_that_fill_the_cache_end_no_conversation(backend: LlamaBackend) -> None:
    """Forks at a tip share old cells, which llama.cpp may not reuse then, so idle slots have to be evicted."""
    engine = Engine(backend)
    for seed in range(12):
        beginning = tokens(600, seed=seed % 5)
        run(engine, *([*beginning, *tokens(30, seed=100 * seed + number)] for number in range(4)), max_tokens=5)
    forget(engine)
    assert [backend.cells_of(slot) for slot in range(backend.limits.slots)] == [0] * backend.limits.slots


def test_a_quantized_cache_is_as_much_smaller_as_planned(backend: LlamaBackend, path: str) -> None:
    small = LlamaBackend(path, msgspec.structs.replace(OPTIONS, kv_type="q4_0", flash_attention="on"))
    sizes = []
    for each in (small, backend):
        prefill(each, 0, tokens(500))
        checkpoint = each.save_state(0)
        assert checkpoint is not None
        sizes.append(checkpoint.size)
    small.close()
    planned = KV_TYPES["q4_0"].bytes(1024) / KV_TYPES["f16"].bytes(1024)
    assert sizes[0] / sizes[1] == pytest.approx(planned, rel=0.1)


def test_a_quantized_cache_without_flash_attention_is_an_error(path: str) -> None:
    with pytest.raises(LoadError, match="kv_type q8_0 needs flash attention, and flash_attention is off"):
        LlamaBackend(path, LoadOptions(kv_type="q8_0", flash_attention="off"))

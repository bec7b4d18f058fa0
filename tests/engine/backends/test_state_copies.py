"""Cells that leave llama.cpp's cache and come back, and rows that only fill a tile."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from conversations import small_model
from numpy.typing import NDArray

import localrouter
from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.engine.engine import Engine
from localrouter.engine.generation_request import GenerationRequest, Sampling, Segment
from localrouter.engine.messages import Finished, Generate, Piece
from localrouter.engine.scheduling.batch import Batch
from localrouter.load_options import LoadOptions

DEMO = str(Path(localrouter.__file__).parent / "assets" / "demo.gguf")
CLOSE = 0.03
"""How far apart two batch shapes of one prompt are at most. A prompt shifted by one token is at 0.12."""
PROMPT = [300 + 7 * index % 3000 for index in range(300)]


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaBackend]:
    path = small_model(tmp_path_factory.mktemp("model"), "qwen3-tiny")
    backend = LlamaBackend(path, LoadOptions(threads=1, cells=1024, context=1024, max_sequences=64))
    yield backend
    backend.close()


@pytest.fixture(autouse=True)
def _clean(backend: LlamaBackend) -> Iterator[None]:
    yield
    for slot in range(backend.limits.slots):
        backend.clear(slot)
    for handle in range(4):
        backend.forget(handle)


def compute(
    backend: LlamaBackend, tokens: list[int], *, slot: int = 0, start: int = 0, padding: int = 0
) -> NDArray[np.float32]:
    """Compute tokens from a position on; return the logits of the last."""
    positions = list(range(start, start + len(tokens)))
    batch = Batch(list(tokens), positions, [slot] * len(tokens), [len(tokens) - 1], padding=padding)
    return np.array(backend.decode(batch)[0])


def apart(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Total variation distance of two distributions, given by their logits."""
    weights = [np.exp(row - row.max()) for row in (one, other)]
    return float(abs(weights[0] / weights[0].sum() - weights[1] / weights[1].sum()).sum() / 2)


def held(backend: LlamaBackend) -> list[int]:
    """Return the number of positions of each slot, and of the scratch sequence."""
    return [backend.cells_of(slot) for slot in range(backend.limits.slots + 1)]


def test_cells_that_come_back_are_as_they_were(backend: LlamaBackend) -> None:
    compute(backend, PROMPT)
    expected = compute(backend, [5, 6, 7], start=300)
    backend.clear(0)
    compute(backend, PROMPT)

    assert backend.store(1, 0, 100, 300)
    backend.clear(0)
    compute(backend, PROMPT[:100])
    assert backend.restore(1, 0, 100, 300)

    assert apart(compute(backend, [5, 6, 7], start=300), expected) < CLOSE
    assert held(backend)[1:] == [0] * backend.limits.slots


def test_a_part_of_a_copy_comes_back_for_a_prompt_that_parts_from_it(backend: LlamaBackend) -> None:
    compute(backend, PROMPT[:200])
    expected = compute(backend, [5, 6, 7], start=200)
    backend.clear(0)
    compute(backend, PROMPT)
    backend.store(1, 0, 50, 300)
    backend.fork(0, 2, 120, None)

    assert backend.restore(1, 2, 120, 200)

    assert apart(compute(backend, [5, 6, 7], slot=2, start=200), expected) < CLOSE


def test_cells_that_do_not_follow_those_of_the_slot_are_refused(backend: LlamaBackend) -> None:
    compute(backend, PROMPT)
    backend.store(1, 0, 100, 300)
    backend.clear(0)
    compute(backend, PROMPT[:90])

    assert not backend.restore(1, 0, 100, 300)
    assert held(backend)[0] == 90


def test_a_missing_copy_or_one_without_room_is_refused(backend: LlamaBackend) -> None:
    compute(backend, PROMPT)
    backend.store(1, 0, 0, 300)
    for slot in (1, 2):
        compute(backend, PROMPT, slot=slot)

    assert not backend.restore(1, 3, 0, 300), "900 of 1,024 cells are taken"
    backend.clear(0)
    assert backend.restore(1, 3, 0, 300)
    backend.forget(1)
    backend.clear(3)
    assert not backend.restore(1, 3, 0, 300)
    assert held(backend) == [0, 300, 300, *[0] * (backend.limits.slots - 2)]


def test_a_copy_for_which_there_is_no_memory_is_told(backend: LlamaBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    compute(backend, PROMPT)
    monkeypatch.setattr(np, "empty", no_memory)

    assert not backend.store(1, 0, 0, 300)
    assert backend.save_state(0) is None
    assert held(backend)[1:] == [0] * backend.limits.slots


@pytest.mark.parametrize("rows", [1, 20, 63])
def test_padding_rows_change_nothing_and_leave_nothing(backend: LlamaBackend, rows: int) -> None:
    compute(backend, PROMPT)
    expected = compute(backend, PROMPT[:rows], start=300)
    backend.clear(0)
    compute(backend, PROMPT)

    padded = compute(backend, PROMPT[:rows], start=300, padding=64 - rows)

    assert apart(padded, expected) < CLOSE
    assert held(backend) == [300 + rows, *[0] * backend.limits.slots]


def test_padding_rows_are_left_out_where_there_is_no_room(backend: LlamaBackend) -> None:
    for slot in range(3):
        compute(backend, PROMPT, slot=slot)
    compute(backend, PROMPT[:80], slot=3)

    logits = compute(backend, PROMPT[:30], slot=3, start=80, padding=34)

    assert np.isfinite(logits).all()
    assert held(backend) == [300, 300, 300, 110, *[0] * (backend.limits.slots - 3)]


@pytest.mark.parametrize(
    ("kind", "options", "pads_to_tile", "has_host_store"),
    [
        ("qwen3-tiny", LoadOptions(), True, True),
        ("qwen3-tiny", LoadOptions(flash_attention="off"), False, True),
        ("qwen3-tiny", LoadOptions(kv_type="q8_0"), False, True),
        ("gemma4-tiny", LoadOptions(swa_full="on"), True, False),
        ("gemma4-tiny", LoadOptions(swa_full="off"), False, False),
        ("qwen35moe-tiny", LoadOptions(), False, False),
    ],
)
def test_which_models_pad_to_tiles_and_which_have_a_host_store(
    kind: str, options: LoadOptions, pads_to_tile: bool, has_host_store: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = small_model(tmp_path_factory.mktemp("model"), kind)
    backend = LlamaBackend(path, msgspec.structs.replace(options, threads=1, cells=1024, context=512, max_sequences=2))
    limits = backend.limits
    backend.close()

    assert (limits.pads_to_tile, limits.host_store_cells > 0) == (pads_to_tile, has_host_store)
    assert (limits.idle_cells == 0) is has_host_store


def test_a_conversation_restored_from_the_host_store_has_the_same_output() -> None:
    """Two conversations take turns, and while one is computed the other is not in the cache."""
    answers = [_take_turns(host_store_cells) for host_store_cells in (0, 4096)]

    assert answers[0][0] == answers[1][0]
    assert answers[1][1] > 0 == answers[0][1]


def _take_turns(host_store_cells: int) -> tuple[list[str], int]:
    """Return greedy outputs of the embedded model, and the number of cached prompt tokens.

    Without flash attention, which computes a little otherwise for a prompt that is cut elsewhere.
    """
    backend = LlamaBackend(DEMO, LoadOptions(threads=1, cells=2048, max_sequences=2, flash_attention="off"))
    backend.limits = replace(backend.limits, host_store_cells=host_store_cells, idle_cells=0)
    engine, said, cached = Engine(backend), list[str](), 0
    texts = [f"<|im_start|>system\nYou are helpful, {name}.<|im_end|>\n" for name in ("Anna", "Bert")]
    for turn in range(6):
        who = turn % 2
        texts[who] += f"<|im_start|>user\nWhat is the capital of France?{' Please.' * 12}<|im_end|>\n"
        texts[who] += "<|im_start|>assistant\n"
        events = [
            engine.submit(Generate(turn, GenerationRequest([Segment(texts[who], True)], Sampling(temperature=0), 40)))
        ]
        while not engine.is_idle:
            events += engine.step()
        said.append("".join(event.text for event in events if isinstance(event, Piece)))
        cached += sum(event.usage.cached_tokens for event in events if isinstance(event, Finished))
        texts[who] += f"{said[-1]}<|im_end|>\n"
        while engine.run_idle_work():
            engine.scheduler.check()
        while not host_store_cells and engine.kv_cache.evict():
            engine.step()
    backend.close()
    return said, cached

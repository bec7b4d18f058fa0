"""The engine on llama.cpp itself: the embedded model, and small random models of the other kinds of memory."""

import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from conversations import ask, end_of, forget, prompt, run, small_model, text_of

import localrouter
from localrouter.engine.backends.base import BatchRefused, LoadError, Logits
from localrouter.engine.backends.llama import load_plan
from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.engine.engine import Engine
from localrouter.engine.fallbacks import Fallback
from localrouter.engine.generation_request import GenerationRequest, Sampling, Segment
from localrouter.engine.messages import Finished, Generate, Loading
from localrouter.engine.scheduling.batch import Batch
from localrouter.gguf.header import GgufError, read_header
from localrouter.gguf.header_bytes import MAX_KEPT
from localrouter.load_options import LoadOptions
from localrouter.memory.machine import Machine
from localrouter.memory.plan import ROWS
from localrouter.memory.pool import POOL

DEMO = str(Path(localrouter.__file__).parent / "assets" / "demo.gguf")
QUESTIONS = [f"What is the capital of {country}?" for country in ("Italy", "Japan", "Peru", "Norway", "Kenya", "Chile")]


@pytest.fixture(scope="module")
def backend() -> Iterator[LlamaBackend]:
    backend = LlamaBackend(DEMO, LoadOptions(threads=1, cells=4096, max_sequences=8))
    yield backend
    backend.close()


@pytest.fixture
def engine(backend: LlamaBackend) -> Iterator[Engine]:
    engine = Engine(backend)
    yield engine
    forget(engine)


def greedy(number: int, text: str, max_tokens: int | None = None) -> Generate:
    return Generate(number, GenerationRequest(prompt(text), Sampling(temperature=0), max_tokens))


def seeded(number: int, seed: int) -> Generate:
    return Generate(number, GenerationRequest(prompt("Tell me a story"), Sampling(seed=seed), 40))


def test_the_embedded_model_answers(engine: Engine) -> None:
    assert text_of(run(engine, greedy(1, "What is the capital of Italy?")), 1) == "The capital of Italy is Rome."


@pytest.mark.parametrize(
    "options",
    [
        LoadOptions(kv_type="q8_0"),
        LoadOptions(kv_type="q4_0", flash_attention="on"),
        LoadOptions(flash_attention="off"),
        LoadOptions(ubatch=32),
    ],
    ids=["q8_0", "q4_0", "no flash attention", "few rows at once"],
)
def test_every_type_of_cache_computes(options: LoadOptions) -> None:
    backend = LlamaBackend(DEMO, msgspec.structs.replace(options, threads=1, cells=1024, max_sequences=4))
    question = greedy(1, "What is the capital of Italy?")
    assert text_of(run(Engine(backend), question), 1) == "The capital of Italy is Rome."
    backend.close()


def test_outputs_do_not_depend_on_other_requests_in_the_batch(engine: Engine) -> None:
    alone = [text_of(run(engine, greedy(1, question)), 1) for question in QUESTIONS]

    events = run(engine, *(greedy(number, question) for number, question in enumerate(QUESTIONS)))

    assert [text_of(events, number) for number in range(len(QUESTIONS))] == alone


def test_the_same_seed_tells_the_same_story_and_another_seed_another(engine: Engine) -> None:
    events = run(engine, seeded(1, seed=7), seeded(2, seed=7), seeded(3, seed=8))

    assert text_of(events, 1) == text_of(events, 2) != text_of(events, 3)


def test_a_cancelled_request_leaves_no_cell_in_llama_cpp(engine: Engine, backend: LlamaBackend) -> None:
    engine.submit(greedy(1, "Tell me a story"))
    for _ in range(3):
        engine.step()
    [sequence] = engine.scheduler.running
    assert backend.cells_of(sequence.slot) == sequence.computed > 0

    engine.cancel(1)
    forget(engine)

    assert [backend.cells_of(slot) for slot in range(backend.limits.slots)] == [0] * backend.limits.slots


def test_cells_in_llama_cpp_are_what_the_scheduler_counts(engine: Engine, backend: LlamaBackend) -> None:
    for number in range(5):
        engine.submit(seeded(number, number))
    while not engine.is_idle:
        engine.step()
        for sequence in engine.scheduler.running:
            assert backend.cells_of(sequence.slot) == sequence.computed


def test_a_preempted_request_continues_its_output() -> None:
    """Eight questions in a pool for about six: some are computed again, and all are answered to the end."""
    backend = LlamaBackend(DEMO, LoadOptions(threads=1, cells=150, max_sequences=8))
    engine = Engine(backend)
    questions = [QUESTIONS[number % len(QUESTIONS)] for number in range(8)]
    alone = [text_of(run(engine, greedy(1, question)), 1) for question in questions]

    events = [engine.submit(greedy(number, question)) for number, question in enumerate(questions)]
    preempted = 0
    while not engine.is_idle:
        events += engine.step()
        preempted += any(sequence.completion_tokens for sequence in engine.scheduler.waiting)

    assert preempted
    assert [text_of(events, number) for number in range(8)] == alone
    backend.close()


def test_usage_counts_the_prompt_and_the_end_token(engine: Engine, backend: LlamaBackend) -> None:
    command = greedy(1, "What is the capital of Italy?")

    events = run(engine, command)

    usage = end_of(events, 1).usage
    answer = backend.tokenize([Segment(text_of(events, 1), control=False)])
    assert usage.prompt_tokens == len(backend.tokenize(command.request.prompt))
    assert usage.completion_tokens == len(answer) + 1


def test_the_context_is_that_of_the_file(backend: LlamaBackend) -> None:
    assert backend.info.context == 4096
    assert backend.info.architecture == "qwen3"
    assert backend.info.device.offloaded_layers == 0


def test_a_wrong_batch_is_refused_and_the_backend_goes_on(engine: Engine, backend: LlamaBackend) -> None:
    with pytest.raises(BatchRefused):
        backend.decode(Batch(tokens=[10**6], positions=[0], slots=[0], outputs=[0]))

    assert "Rome" in text_of(run(engine, greedy(1, QUESTIONS[0])), 1)


@pytest.mark.parametrize(
    "batch",
    [
        Batch(),
        Batch(tokens=[1], positions=[0], slots=[255], outputs=[0]),
        Batch(tokens=[1] * 1000, positions=list(range(1000)), slots=[0] * 1000, outputs=[]),
    ],
    ids=["empty", "slot out of range", "more rows than llama.cpp was told"],
)
def test_arguments_that_would_end_the_process_fail_an_assertion(backend: LlamaBackend, batch: Batch) -> None:
    with pytest.raises(AssertionError):
        backend.decode(batch)


def test_a_required_gpu_that_is_not_there_is_told(backend: LlamaBackend) -> None:
    if backend.info.device.offloaded_layers:
        pytest.skip("this machine has a GPU")
    with pytest.raises(LoadError, match="require_gpu is set"):
        LlamaBackend(DEMO, LoadOptions(require_gpu=True))


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF\x03\x00\x00\x00" + b"\xff" * 64, b"<html>"])
def test_a_broken_file_is_an_error_without_its_path(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)

    with pytest.raises(LoadError) as caught:
        LlamaBackend(str(path), LoadOptions())
    assert str(tmp_path) not in str(caught.value)


def test_a_cut_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(Path(DEMO).read_bytes()[:-100_000])

    with pytest.raises(LoadError, match="could not load"):
        LlamaBackend(str(path), LoadOptions())


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (LoadOptions(device="Nothing7"), "'Nothing7' is not on this machine"),
        (LoadOptions(tensor_split=(1, 2, 3, 4, 5)), "tensor_split has 5 shares"),
    ],
)
def test_devices_that_cannot_be_used_are_reported_before_anything_is_loaded(options: LoadOptions, why: str) -> None:
    with pytest.raises(LoadError, match=why):
        LlamaBackend(DEMO, options)


def test_options_and_device_are_reported_before_the_weights_are_read() -> None:
    seen: list[Loading] = []
    fallbacks = (Fallback("Vulkan0", "flash_attention", "off", "It crashed."),)
    backend = LlamaBackend(DEMO, LoadOptions(gpu_layers=0, threads=1, cells=512), None, fallbacks, seen.append)
    backend.close()

    assert [(each.device.offloaded_layers, each.options.flash_attention) for each in seen] == [(0, "auto")]
    assert backend.info.fallbacks == (), "they were for another device"


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_plan, "machine_of", lambda _: Machine(ram_free=1_000_000, ram_total=10**9))

    with pytest.raises(LoadError, match=r"Not enough memory for demo: with a cache of 512 tokens it needs .* GB"):
        LlamaBackend(DEMO, LoadOptions())


def with_much_metadata(model: str, folder: Path) -> str:
    """A copy of a model with more text in its header than our reader keeps; llama.cpp reads it."""
    key, length = b"general.filler", MAX_KEPT
    length -= (8 + len(key) + 4 + 8 + length) % 32 - 32  # the data stays aligned
    pair = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, length) + b"x" * length
    data = Path(model).read_bytes()
    [pairs] = struct.unpack_from("<Q", data, 16)
    (folder / "wordy.gguf").write_bytes(data[:16] + struct.pack("<Q", pairs + 1) + pair + data[24:])
    return str(folder / "wordy.gguf")


def test_a_header_that_only_llama_cpp_understands_is_no_obstacle(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = with_much_metadata(DEMO, tmp_path)
    with pytest.raises(GgufError):
        read_header(Path(path))

    backend = LlamaBackend(path, LoadOptions(threads=1))

    assert "memory of wordy.gguf is planned from the file's size alone" in caplog.text
    assert (backend.info.context, backend.info.cells) == (4096, POOL)
    backend.close()


KINDS = ["qwen3-tiny", "qwen35moe-tiny", "gemma4-tiny"]


def next_logits(backend: LlamaBackend, sequences: int) -> Logits:
    """Read a prompt into each sequence, one token more in a second step, and return the logits after that."""
    prompts = [(7 * slot + 31 * position) % 4000 for slot in range(sequences) for position in range(20)]
    slots = [slot for slot in range(sequences) for _ in range(20)]
    backend.decode(Batch(prompts, list(range(20)) * sequences, slots, [len(slots) - 1]))
    every = list(range(sequences))
    logits = backend.decode(Batch([slot + 9 for slot in every], [20] * sequences, every, every)).copy()
    for slot in every:
        backend.clear(slot)
    return logits


@pytest.mark.parametrize(("name", "sequences"), [("qwen3-tiny", 20), ("qwen35moe-tiny", 8)])
def test_recurrent_models_compute_eight_sequences_at_a_time(name: str, sequences: int, tmp_path: Path) -> None:
    backend = LlamaBackend(small_model(tmp_path, name), LoadOptions(threads=1, cells=512, max_sequences=20))

    assert (backend.limits.running, backend.limits.recurrent) == (sequences, sequences == 8)
    assert (backend.limits.prefill_rows, backend.limits.cells) == (ROWS, 512)
    backend.close()


def test_llama_cpp_s_word_for_a_recurrent_model_is_enough(tmp_path: Path) -> None:
    path = with_much_metadata(small_model(tmp_path, "qwen35moe-tiny"), tmp_path)
    backend = LlamaBackend(path, LoadOptions(threads=1, cells=512, max_sequences=20))

    assert (backend.limits.running, backend.limits.recurrent) == (8, True)
    backend.close()


@pytest.mark.parametrize("name", KINDS)
def test_kernels_for_this_cpu_compute_the_same_as_the_plain_ones(name: str, tmp_path: Path) -> None:
    """Kernels differ in how they round; wrong ones are off by as much as the logits themselves, or not finite."""
    path = small_model(tmp_path, name)
    options = LoadOptions(threads=1, cells=512, max_sequences=6)
    ours, plain = (
        LlamaBackend(path, msgspec.structs.replace(options, extra_buffers=which)) for which in ("auto", "off")
    )

    difference = np.abs(next_logits(ours, 6) - next_logits(plain, 6)).max()

    assert difference < 0.3 < np.abs(next_logits(plain, 6)).max()
    ours.close()
    plain.close()


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_memory_runs_many_requests_to_their_ends(name: str, tmp_path: Path) -> None:
    """Admit, preempt and cancel requests, and check that no cell is left."""
    backend = LlamaBackend(small_model(tmp_path, name), LoadOptions(threads=1, cells=256, context=150, max_sequences=6))
    engine = Engine(backend)

    events = [engine.submit(ask(number, "word " * number, max_tokens=60)) for number in range(12)]
    for _ in range(10):
        events += engine.step()
    for number in (0, 5, 11):
        events += engine.cancel(number)
    while not engine.is_idle:
        events += engine.step()
        engine.scheduler.check()

    assert {end_of(events, number).reason for number in range(12)} <= {"stop", "length", "cancelled"}
    assert sum(isinstance(event, Finished) for event in events) == 12
    forget(engine)
    assert [backend.cells_of(slot) for slot in range(engine.backend.limits.slots)] == [0] * backend.limits.slots
    backend.close()

"""The parent side of a real worker process: events reach their callers, and every request has one end."""

import asyncio
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from conversations import prompt

from localrouter.engine.generation_request import GenerationRequest, Grammar, Segment, Thinking
from localrouter.engine.ipc.client import CompletionRate, EngineClient, WorkerGeneration
from localrouter.engine.ipc.process import WorkerProcess
from localrouter.engine.messages import Finished, Gauge, Load, Piece
from localrouter.errors import ContextLengthExceeded, EngineFailed, InvalidRequest, ModelLoadFailed, Overloaded
from localrouter.load_options import LoadOptions

ECHO = Load("step_ms=2", "echo", LoadOptions(context=2000, max_sequences=2))


@pytest.fixture
async def client() -> AsyncIterator[EngineClient]:
    client = EngineClient("echo", await WorkerProcess.start(ECHO, timeout=30), max_queue=1)
    yield client
    await client.close()


def submit(client: EngineClient, text: str, max_tokens: int | None = None) -> WorkerGeneration:
    return client.submit(GenerationRequest(prompt(text), max_tokens=max_tokens))


async def answer(generation: WorkerGeneration) -> tuple[str, Finished]:
    """Return the text of a request and its end."""
    await generation.accepted()
    events = [event async for several in generation.events() for event in several]
    assert isinstance(events[-1], Finished)
    return "".join(event.text for event in events if isinstance(event, Piece)), events[-1]


async def test_requests_get_their_own_answers(client: EngineClient) -> None:
    answers = await asyncio.gather(*(answer(submit(client, f"I am {n}")) for n in range(3)))

    assert [text for text, _ in answers] == ["I am 0", "I am 1", "I am 2"]
    assert client.in_flight == 0
    assert client.gauge == Gauge(cells_cached=client.gauge.cells_cached)


async def test_a_rejected_prompt_raises_its_error(client: EngineClient) -> None:
    with pytest.raises(ContextLengthExceeded) as caught:
        await submit(client, "x" * 3000).accepted()
    assert (caught.value.prompt_tokens, caught.value.limit) == (3000 + len("user\n\nassistant\n") + 3, 2000)

    with pytest.raises(InvalidRequest, match="no tokens"):
        await client.submit(GenerationRequest([])).accepted()


async def test_a_full_queue_refuses_at_once_with_the_time_to_come_back(client: EngineClient) -> None:
    running = [submit(client, "hello") for _ in range(3)]

    with pytest.raises(Overloaded) as caught:
        submit(client, "one too many")
    assert caught.value.retry_after >= 1

    await asyncio.gather(*map(answer, running))
    assert (await answer(submit(client, "room again")))[0] == "room again"


async def test_a_request_that_cannot_be_sent_takes_no_place_in_the_queue(client: EngineClient) -> None:
    half_of_a_pair = [Segment("\ud800", False)]
    for _ in range(3):
        with pytest.raises(UnicodeEncodeError):
            client.submit(GenerationRequest(half_of_a_pair))
        with pytest.raises(UnicodeEncodeError):
            await client.tokenize(half_of_a_pair)

    assert client.in_flight == 0
    assert (await answer(submit(client, "there is room")))[0] == "there is room"


@pytest.mark.parametrize("moment", ["queued", "accepted", "in mid-stream"])
async def test_a_cancelled_request_ends_once_and_frees_its_place(client: EngineClient, moment: str) -> None:
    others = [submit(client, "x" * 300) for _ in range(2)] if moment == "queued" else []
    generation = submit(client, "y" * 300)
    if moment != "queued":
        await generation.accepted()
    if moment == "in mid-stream":
        await anext(generation.events())

    generation.cancel()
    generation.cancel()

    events = [event async for several in generation.events() for event in several]
    assert [event.reason for event in events if isinstance(event, Finished)] == ["cancelled"]
    for other in others:
        other.cancel()
        await answer(other)
    assert client.in_flight == 0
    assert client.gauge == Gauge(cells_cached=client.gauge.cells_cached)


async def test_a_request_carries_its_grammar_its_reasoning_and_its_delimiters(client: EngineClient) -> None:
    generation = client.submit(
        GenerationRequest(
            prompt("<think>a</think>true, and more"),
            grammar=Grammar('start: "<think>" /[a-z]*/ "</think>true"'),
            thinking=Thinking("<think>", "</think>"),
            delimiters=("<|im_start|>",),
        )
    )

    text, end = await answer(generation)

    assert (text, end.reason) == ("<think>a</think>true", "stop")
    assert end.usage.reasoning_tokens == 1 + len("a</think>")


async def test_a_grammar_that_is_wrong_is_the_clients_to_mend(client: EngineClient) -> None:
    with pytest.raises(InvalidRequest, match="unknown name") as caught:
        await client.submit(GenerationRequest(prompt("hi"), grammar=Grammar("start: foo"))).accepted()
    assert (caught.value.param, caught.value.reason) == (None, "invalid_grammar")
    assert client.in_flight == 0


async def test_text_becomes_tokens_and_tokens_become_text(client: EngineClient) -> None:
    tokens = await client.tokenize([Segment("<|im_end|>", True), Segment("é", False)])

    assert tokens.pieces == [b"<|im_end|>", b"\xc3", b"\xa9"]
    assert (await client.detokenize(tokens.tokens)).pieces == tokens.pieces
    assert client.in_flight == 0


@pytest.mark.parametrize("token", [-1, 259])
async def test_a_number_outside_the_vocabulary_has_no_text(client: EngineClient, token: int) -> None:
    with pytest.raises(InvalidRequest, match=f"{token} is no token") as caught:
        await client.detokenize([1, token])
    assert caught.value.param == "tokens"


async def test_a_dead_worker_fails_queries(client: EngineClient) -> None:
    client._worker.process.send_signal(signal.SIGSTOP)
    while psutil.Process(client.pid).status() != psutil.STATUS_STOPPED:  # noqa: ASYNC110 - the system offers no event
        await asyncio.sleep(0)
    asked = asyncio.create_task(client.tokenize([Segment("a", False)]))
    await asyncio.sleep(0)

    client._worker.process.kill()

    with pytest.raises(EngineFailed):
        await asked
    with pytest.raises(EngineFailed):
        await client.detokenize([1])


@pytest.mark.parametrize(("number", "told"), [(signal.SIGABRT, ["was ended by signal 6"]), (signal.SIGKILL, [])])
async def test_a_crash_before_a_completed_request_is_reported_and_a_kill_is_not(number: int, told: list[str]) -> None:
    fates: list[str] = []
    worker = await WorkerProcess.start(ECHO, timeout=30)
    client = EngineClient("echo", worker, max_queue=1, on_early_crash=fates.append)
    await submit(client, "x" * 1000).accepted()

    client._worker.process.send_signal(number)
    await client._reading

    assert fates == told


async def test_a_crash_after_a_completed_request_is_no_early_one() -> None:
    fates: list[str] = []
    worker = await WorkerProcess.start(ECHO, timeout=30)
    client = EngineClient("echo", worker, max_queue=1, on_early_crash=fates.append)
    await answer(submit(client, "hi"))

    client._worker.process.send_signal(signal.SIGABRT)
    await client._reading

    assert fates == []


async def test_a_dead_worker_ends_running_requests_and_takes_no_more(client: EngineClient) -> None:
    generation = submit(client, "x" * 1000)
    await generation.accepted()

    client._worker.process.kill()

    events = [event async for several in generation.events() for event in several]
    assert isinstance(events[-1], Finished)
    assert events[-1].code == "engine_failed"
    assert not client.is_alive
    with pytest.raises(EngineFailed):
        submit(client, "hi")


async def test_closing_ends_running_requests_with_a_reason() -> None:
    client = EngineClient("echo", await WorkerProcess.start(ECHO, timeout=30), max_queue=1)
    generation = submit(client, "x" * 1000)
    await generation.accepted()

    await client.close()

    end = (await anext(generation.events()))[-1]
    assert isinstance(end, Finished)
    assert end.code == "shutting_down"


async def test_a_file_that_is_no_model_is_reported_without_its_path(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"no model at all")

    with pytest.raises(ModelLoadFailed) as caught:
        await WorkerProcess.start(Load(str(path), "llama"), timeout=30)
    assert str(tmp_path) not in caught.value.message


async def test_a_worker_that_dies_before_it_reads_anything_could_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    program = shutil.which("false")
    assert program is not None
    monkeypatch.setattr(sys, "executable", program)

    with pytest.raises(ModelLoadFailed, match="while it loaded"):
        await WorkerProcess.start(ECHO, timeout=30)


async def test_a_worker_that_is_given_up_while_it_loads_is_not_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = asyncio.Event()

    async def load_for_ever(*_: object) -> None:
        loads.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("localrouter.engine.ipc.process._Start.ready", load_for_ever)
    before = {*psutil.Process().children()}
    starting = asyncio.create_task(WorkerProcess.start(ECHO, timeout=30))
    await loads.wait()
    [worker] = {*psutil.Process().children()} - before

    starting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not worker.is_running()


async def test_a_model_that_loads_too_slowly_is_given_up() -> None:
    with pytest.raises(ModelLoadFailed, match="did not load within"):
        await WorkerProcess.start(ECHO, timeout=0)


def test_the_rate_is_measured_from_ended_requests() -> None:
    pace = CompletionRate()
    for _ in range(4):
        pace.began(100)
    pace.ended(102, idle=False)
    pace.ended(104, idle=False)

    assert pace.seconds_for(10, 104) == 20


def test_before_the_first_end_the_pace_is_the_time_so_far() -> None:
    pace = CompletionRate()
    pace.began(100)

    assert pace.seconds_for(2, 103) == 6


def test_idle_time_does_not_count_as_slowness() -> None:
    pace = CompletionRate()
    pace.began(0)
    pace.ended(1, idle=True)
    pace.began(1000)
    pace.ended(1001, idle=False)

    assert pace.seconds_for(5, 1001) == 5


def test_a_retry_is_due_in_one_second_to_one_hour() -> None:
    pace = CompletionRate()
    pace.began(0)

    assert pace.seconds_for(1, 0) == 1
    assert pace.seconds_for(1000, 1000) == 3600

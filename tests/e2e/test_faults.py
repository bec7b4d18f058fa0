"""What goes wrong outside of our code: killed workers, killed servers, signals, full queues, clients that leave."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable

import httpx
import openai
import psutil
import pytest
from running_server import PATIENCE, serving

SLOW = ["--model", "slow=builtin:echo?step_ms=5", "--model", "other=builtin:echo?step_ms=4"]
LONG = "a long message that takes a while to say " * 20
VERY_LONG = [{"role": "user", "content": LONG * 4}]
"""Takes a quarter of a minute to be said, whatever else the machine has to do."""


def ask(model: str, **fields: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": LONG}], **fields}


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether the condition comes true in reasonable time; other processes offer no event to wait for."""
    limit = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < limit:
        time.sleep(0.02)
    return condition()


def test_a_killed_worker_ends_its_streams_with_an_error_and_nobody_elses() -> None:
    with serving(*SLOW) as server:
        client = server.client()
        client.chat.completions.create(model="slow", messages=[{"role": "user", "content": "hi"}])
        [worker] = server.workers()
        client.chat.completions.create(model="other", messages=[{"role": "user", "content": "hi"}])
        stream = iter(
            client.chat.completions.create(model="slow", messages=[{"role": "user", "content": LONG}], stream=True)
        )
        next(stream), next(stream)
        other = iter(
            client.chat.completions.create(model="other", messages=[{"role": "user", "content": LONG}], stream=True)
        )
        next(other)

        worker.kill()

        with pytest.raises(openai.APIError, match="worker died"):
            list(stream)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in other) == LONG
        again = client.chat.completions.create(model="slow", messages=[{"role": "user", "content": "hi"}])
        assert again.choices[0].message.content == "hi"
        assert server.engine("localrouter-echo?step_ms=5")["starts"] == 2


def test_the_error_event_is_openais_and_the_last() -> None:
    with (
        serving(*SLOW) as server,
        httpx.stream(
            "POST", f"{server.base_url}/chat/completions", json=ask("slow", stream=True), timeout=PATIENCE
        ) as response,
    ):
        lines = response.iter_lines()
        next(lines)
        server.workers()[0].kill()

        events = [line for line in lines if line]

    assert events[-1].startswith('data: {"error":{"message":"The model\'s worker died')
    assert "[DONE]" not in "".join(events)


def test_a_plain_answer_of_a_killed_worker_is_a_500_in_openais_shape() -> None:
    with serving(*SLOW) as server:
        server.client().chat.completions.create(model="slow", messages=[{"role": "user", "content": "hi"}])

        async def main() -> httpx.Response:
            async with httpx.AsyncClient(timeout=PATIENCE) as client:
                asking = asyncio.create_task(client.post(f"{server.base_url}/chat/completions", json=ask("slow")))
                await asyncio.to_thread(eventually, lambda: server.engine("localrouter-echo?step_ms=5")["running"] == 1)
                server.workers()[0].kill()
                return await asking

        response = asyncio.run(main())

    assert response.status_code == 500
    assert response.json()["error"]["code"] == "engine_failed"


def test_sigterm_lets_running_streams_finish_and_leaves_no_process() -> None:
    with serving(*SLOW, "--grace", "30") as server:
        client = server.client()
        stream = iter(
            client.chat.completions.create(model="slow", messages=[{"role": "user", "content": LONG}], stream=True)
        )
        next(stream)
        children = server.children()

        server.process.send_signal(signal.SIGTERM)

        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == LONG
        assert server.process.wait(PATIENCE) == 0
        assert psutil.wait_procs(children, PATIENCE)[1] == []


def test_after_the_grace_streams_are_told_and_the_server_goes() -> None:
    with serving(*SLOW, "--grace", "0.2") as server:
        client = server.client()
        stream = client.chat.completions.create(
            model="slow", messages=[{"role": "user", "content": LONG * 5}], stream=True
        )
        iterator = iter(stream)
        next(iterator)

        server.process.send_signal(signal.SIGTERM)

        with pytest.raises(openai.APIError, match="shutting down"):
            list(iterator)
        assert server.process.wait(PATIENCE) == 0


def test_a_killed_server_leaves_no_process() -> None:
    with serving(*SLOW) as server:
        server.client().chat.completions.create(model="slow", messages=[{"role": "user", "content": "hi"}])
        children = server.children()

        server.stop(signal.SIGKILL)

        assert len(children) == 2, "a worker, and what renders prompts"
        assert psutil.wait_procs(children, PATIENCE)[1] == []


def test_past_the_queue_the_client_is_told_when_to_come_back() -> None:
    name = "localrouter-echo?step_ms=5"
    with serving(*SLOW, "--max-sequences", "1", "--max-queue", "2") as server:

        async def main() -> list[httpx.Response]:
            async with httpx.AsyncClient(timeout=PATIENCE) as client:
                url = f"{server.base_url}/chat/completions"
                await client.post(url, json=ask("slow", max_tokens=1))
                holding = asyncio.create_task(client.post(url, json=ask("slow", messages=VERY_LONG)))
                await asyncio.to_thread(eventually, lambda: server.engine(name)["running"] == 1)
                waiting = [asyncio.create_task(client.post(url, json=ask("slow", max_tokens=1))) for _ in range(2)]
                await asyncio.to_thread(eventually, lambda: server.engine(name)["waiting"] == 2)
                refused = [await client.post(url, json=ask("slow")) for _ in range(3)]
                holding.cancel()
                return [*refused, *await asyncio.gather(*waiting)]

        responses = asyncio.run(main())

    assert [response.status_code for response in responses] == [429] * 3 + [200] * 2
    assert all(int(response.headers["retry-after"]) >= 1 for response in responses[:3])
    assert {response.json()["error"]["code"] for response in responses[:3]} == {"queue_full"}


async def leave_early(client: httpx.AsyncClient, url: str, model: str, seed: int) -> None:
    """Ask, and hang up at a random moment: while queued, in the prompt, in mid-stream, or never."""
    choice = random.Random(seed)
    words = "word " * choice.randint(1, 200)
    body = {"model": model, "messages": [{"role": "user", "content": words}], "stream": choice.random() < 0.7}
    try:
        async with asyncio.timeout(choice.choice([0.005, 0.05, 0.2, 0.5])):
            async with client.stream("POST", url, json=body | {"max_tokens": choice.randint(1, 400)}) as response:
                lines: AsyncIterator[str] = response.aiter_lines()
                for _ in range(choice.randint(0, 30)):
                    if await anext(lines, None) is None:
                        return
    except TimeoutError:
        pass


@pytest.mark.slow
@pytest.mark.parametrize(("model", "name"), [("slow", "localrouter-echo?step_ms=5"), ("demo", "localrouter-demo-Q8_0")])
def test_two_hundred_clients_that_leave_at_random_leave_nothing_behind(model: str, name: str) -> None:
    with serving(*SLOW, "--threads", "1") as server:
        client = server.client()
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}])
        client.close()
        processes = [psutil.Process(server.process.pid), *server.children()]
        assert eventually(lambda: len(processes[0].net_connections()) == 1)
        before = [process.num_fds() for process in processes]

        async def main() -> None:
            async with httpx.AsyncClient(timeout=PATIENCE, limits=httpx.Limits(max_keepalive_connections=0)) as client:
                url = f"{server.base_url}/chat/completions"
                await asyncio.gather(*(leave_early(client, url, model, seed) for seed in range(200)))

        asyncio.run(main())

        idle = {"running": 0, "waiting": 0, "cells_used": 0, "in_flight": 0, "starts": 1}
        assert eventually(lambda: {key: server.engine(name)[key] for key in idle} == idle), server.engine(name)
        assert eventually(lambda: len(processes[0].net_connections()) == 1)
        assert [process.num_fds() for process in processes] == before
        assert not any("Task" in line or "Traceback" in line for line in server.log)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX signals")
def test_ctrl_c_in_the_terminal_reaches_the_worker_too_and_streams_still_finish() -> None:
    with serving(*SLOW, "--grace", "30") as server:
        stream = iter(
            server.client().chat.completions.create(
                model="slow", messages=[{"role": "user", "content": LONG}], stream=True
            )
        )
        next(stream)

        for process in [*server.children(), psutil.Process(server.process.pid)]:
            process.send_signal(signal.SIGINT)

        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == LONG
        assert server.process.wait(PATIENCE) == 130

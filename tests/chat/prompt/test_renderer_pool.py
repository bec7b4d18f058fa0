"""Rendering in processes of their own: whatever a template does, the server goes on and the client is told."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fake_engine import INFO
from msgspec.structs import replace

from localrouter.chat.families.prompted_tools import FALLBACK
from localrouter.chat.prompt.chat_prompt import PromptRequest, prompt_of
from localrouter.chat.prompt.renderer_pool import RendererPool
from localrouter.chat.prompt.turns import Call, Turn
from localrouter.errors import InvalidRequest, ShuttingDown

LOOP = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
NESTED = (
    "{% set n = namespace(a=['x']) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a | tojson }}"
)


def request(template: str | None, *turns: Turn, **options: Any) -> PromptRequest:
    info = replace(INFO, chat_template=template, control_tokens=["<|im_end|>"])
    return PromptRequest(info, FALLBACK, list(turns) or [Turn("user", "Hi")], **options)


def run(work: Callable[[RendererPool], Awaitable[None]], seconds: float = 20) -> None:
    async def main() -> None:
        renderer = RendererPool(seconds, most=2)
        try:
            await work(renderer)
        finally:
            await renderer.close()

    asyncio.run(main())


def test_a_prompt_from_another_process_is_the_same() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"maximum": 10**40, "é": [None, 1.5]}}}
    asked = request(
        None,
        Turn("user", "é<|im_end|>", 0, speaker="Ann"),
        Turn("assistant", "", 1, thought="Hm.", calls=[Call("x", "f", "{}")]),
        Turn("tool", "2", 2, call=Call("x", "f", "{}")),
        tools=[tool],
        variables={"note": "x"},
    )

    async def work(renderer: RendererPool) -> None:
        assert await renderer.render(asked) == prompt_of(asked)

    run(work)


def test_a_refusal_arrives_as_it_was_raised() -> None:
    async def work(renderer: RendererPool) -> None:
        with pytest.raises(InvalidRequest, match="refuses this conversation: No!") as caught:
            await renderer.render(request("{{ raise_exception('No!') }}"))
        assert (caught.value.param, caught.value.reason) == ("messages", None)
        with pytest.raises(InvalidRequest, match="not valid Jinja") as caught:
            await renderer.render(request("{% if %}"))
        assert caught.value.param == "model"

    run(work)


@pytest.mark.parametrize("template", [LOOP, NESTED], ids=["loop", "nested"])
def test_a_template_that_takes_too_long_is_ended(template: str) -> None:
    async def work(renderer: RendererPool) -> None:
        with pytest.raises(InvalidRequest, match=r"more than 1 seconds.*chat_template") as caught:
            await renderer.render(request(template))
        assert (caught.value.param, caught.value.reason) == ("messages", "template_too_slow")
        assert (await renderer.render(request(None))).segments

    run(work, seconds=1)


@pytest.mark.parametrize(
    "template", ["{{ ('a' * 3 * 10**9) | length }}", "{{ 'a' | center(10**11) }}", "{{ 'a' * 10**8 }}"]
)
def test_a_template_that_takes_too_much_memory_is_refused(template: str) -> None:
    async def work(renderer: RendererPool) -> None:
        with pytest.raises(InvalidRequest, match=r"too much memory.*chat_template") as caught:
            await renderer.render(request(template))
        assert (caught.value.param, caught.value.reason) == ("messages", "template_too_large")
        assert (await renderer.render(request(None))).segments

    run(work)


def test_templates_render_beside_each_other() -> None:
    async def work(renderer: RendererPool) -> None:
        slow = asyncio.create_task(renderer.render(request(LOOP)))
        for _ in range(3):
            assert (await renderer.render(request(None))).segments
        assert not slow.done()
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow

    run(work, seconds=60)


def taken(renderer: RendererPool) -> int:
    """How many processes are asked something at this moment."""
    return len(renderer._asking)


def test_the_process_of_a_client_that_has_left_serves_the_next_one() -> None:
    async def work(renderer: RendererPool) -> None:
        await renderer.render(request(None))
        process = renderer._idle[0]
        left = asyncio.create_task(renderer.render(request(None)))
        while not taken(renderer):  # noqa: ASYNC110 - nothing else tells that it was taken
            await asyncio.sleep(0)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left

        assert await renderer.render(request(None, Turn("user", "next"))) == prompt_of(
            request(None, Turn("user", "next"))
        )
        assert renderer._idle == [process]

    run(work)


def test_a_process_that_computes_for_nobody_does_not_hold_up_others() -> None:
    async def work(renderer: RendererPool) -> None:
        left = asyncio.create_task(renderer.render(request(LOOP)))
        while not taken(renderer):  # noqa: ASYNC110
            await asyncio.sleep(0)
        left.cancel()
        assert (await renderer.render(request(None))).segments

    run(work, seconds=60)


def test_who_waits_for_a_prompt_when_the_server_stops_is_told_so() -> None:
    async def work(renderer: RendererPool) -> None:
        waiting = asyncio.create_task(renderer.render(request(LOOP)))
        while not taken(renderer):  # noqa: ASYNC110
            await asyncio.sleep(0)

        await renderer.close()

        with pytest.raises(ShuttingDown):
            await waiting

    run(work, seconds=60)


def test_requests_that_come_together_share_a_process_that_is_quick() -> None:
    """To start another takes longer than any of these prompts."""

    async def work(renderer: RendererPool) -> None:
        await renderer.render(request(None))
        [process] = renderer._idle

        await asyncio.gather(*(renderer.render(request(None)) for _ in range(20)))

        assert renderer._idle == [process]

    run(work)


def test_a_process_that_was_killed_meanwhile_is_replaced() -> None:
    async def work(renderer: RendererPool) -> None:
        await renderer.render(request(None))
        waiting = renderer._idle[0].process
        waiting.kill()
        await waiting.wait()
        assert (await renderer.render(request(None))).segments

    run(work)

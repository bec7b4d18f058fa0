"""Rendering in child processes: whatever a template does, the server goes on and the client gets an error."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from fake_engine import INFO
from msgspec.structs import replace

from localrouter.chat.prompt.chat_prompt import PromptRequest, prompt_of
from localrouter.chat.prompt.model_template import ModelTemplate
from localrouter.chat.prompt.normalised_message import Call, NormalisedMessage
from localrouter.chat.prompt.render_worker import RenderWorker
from localrouter.chat.prompt.renderer_pool import KEPT_MODELS, RendererPool, _Process
from localrouter.errors import InvalidRequest, ShuttingDown

LOOP = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
NESTED = (
    "{% set n = namespace(a=['x']) %}{% for i in range(60) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a | tojson }}"
)


def model(template: str | None) -> ModelTemplate:
    return ModelTemplate.of(replace(INFO, chat_template=template, control_tokens=["<|im_end|>"]))


CHATML = model(None)
HI = PromptRequest([NormalisedMessage("user", "Hi")])


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
    asked = PromptRequest(
        [
            NormalisedMessage("user", "é<|im_end|>", 0, speaker="Ann"),
            NormalisedMessage("assistant", "", 1, reasoning="Hm.", calls=[Call("x", "f", "{}")]),
            NormalisedMessage("tool", "2", 2, call=Call("x", "f", "{}")),
        ],
        tools=[tool],
        variables={"note": "x"},
    )

    async def work(renderer: RendererPool) -> None:
        assert await renderer.render(CHATML, asked) == prompt_of(CHATML, asked)

    run(work)


def test_a_refusal_arrives_as_it_was_raised() -> None:
    async def work(renderer: RendererPool) -> None:
        with pytest.raises(InvalidRequest, match="refuses this conversation: No!") as caught:
            await renderer.render(model("{{ raise_exception('No!') }}"), HI)
        assert (caught.value.param, caught.value.reason) == ("messages", None)
        with pytest.raises(InvalidRequest, match="not valid Jinja") as caught:
            await renderer.render(model("{% if %}"), HI)
        assert caught.value.param == "model"

    run(work)


@pytest.mark.parametrize("template", [LOOP, NESTED], ids=["loop", "nested"])
def test_a_template_that_takes_too_long_is_ended(template: str) -> None:
    async def work(renderer: RendererPool) -> None:
        with pytest.raises(InvalidRequest, match=r"more than 1 seconds.*chat_template") as caught:
            await renderer.render(model(template), HI)
        assert (caught.value.param, caught.value.reason) == ("messages", "template_too_slow")
        assert (await renderer.render(CHATML, HI)).segments

    run(work, seconds=1)


@pytest.mark.parametrize(
    "template", ["{{ ('a' * 3 * 10**9) | length }}", "{{ 'a' | center(10**11) }}", "{{ 'a' * 10**8 }}"]
)
def test_a_template_that_takes_too_much_memory_is_refused(template: str) -> None:
    async def work(renderer: RendererPool) -> None:
        with pytest.raises(InvalidRequest, match=r"too much memory.*chat_template") as caught:
            await renderer.render(model(template), HI)
        assert (caught.value.param, caught.value.reason) == ("messages", "template_too_large")
        assert (await renderer.render(CHATML, HI)).segments

    run(work)


def test_templates_render_beside_each_other() -> None:
    async def work(renderer: RendererPool) -> None:
        slow = asyncio.create_task(renderer.render(model(LOOP), HI))
        for _ in range(3):
            assert (await renderer.render(CHATML, HI)).segments
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
        await renderer.render(CHATML, HI)
        process = renderer._idle[0]
        left = asyncio.create_task(renderer.render(CHATML, HI))
        while not taken(renderer):  # noqa: ASYNC110 - nothing else tells that it was taken
            await asyncio.sleep(0)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left

        following = PromptRequest([NormalisedMessage("user", "next")])
        assert await renderer.render(CHATML, following) == prompt_of(CHATML, following)
        assert renderer._idle == [process]

    run(work)


def test_a_process_that_computes_for_nobody_does_not_hold_up_others() -> None:
    async def work(renderer: RendererPool) -> None:
        left = asyncio.create_task(renderer.render(model(LOOP), HI))
        while not taken(renderer):  # noqa: ASYNC110
            await asyncio.sleep(0)
        left.cancel()
        assert (await renderer.render(CHATML, HI)).segments

    run(work, seconds=60)


def test_who_waits_for_a_prompt_when_the_server_stops_is_told_so() -> None:
    async def work(renderer: RendererPool) -> None:
        waiting = asyncio.create_task(renderer.render(model(LOOP), HI))
        while not taken(renderer):  # noqa: ASYNC110
            await asyncio.sleep(0)

        await renderer.close()

        with pytest.raises(ShuttingDown):
            await waiting

    run(work, seconds=60)


def test_requests_that_come_together_share_a_process_that_is_quick() -> None:
    """To start another takes longer than any of these prompts."""

    async def work(renderer: RendererPool) -> None:
        await renderer.render(CHATML, HI)
        [process] = renderer._idle

        await asyncio.gather(*(renderer.render(CHATML, HI) for _ in range(20)))

        assert renderer._idle == [process]

    run(work)


def test_a_process_that_was_killed_meanwhile_is_replaced() -> None:
    async def work(renderer: RendererPool) -> None:
        await renderer.render(CHATML, HI)
        waiting = renderer._idle[0].process
        waiting.kill()
        await waiting.wait()
        assert (await renderer.render(CHATML, HI)).segments
        assert renderer._idle[0].known == [CHATML.key]

    run(work)


def test_a_process_receives_the_template_of_a_model_once() -> None:
    async def work(renderer: RendererPool) -> None:
        await renderer.render(CHATML, HI)
        [process] = renderer._idle

        again, other = process.command(CHATML, HI), process.command(model("{{ 'other' }}"), HI)

        assert CHATML.source.encode()[:20] not in again
        assert len(again) < 500
        assert b"'other'" in other

    run(work)


def test_a_new_process_receives_the_template_again() -> None:
    async def work(renderer: RendererPool) -> None:
        await renderer.render(CHATML, HI)
        [first] = renderer._idle
        with pytest.raises(InvalidRequest):
            await renderer.render(model(LOOP), HI)  # ends the process
        await renderer.render(CHATML, HI)
        [second] = renderer._idle

        assert second is not first
        assert second.known == [CHATML.key]

    run(work, seconds=1)


def test_a_process_keeps_the_templates_that_were_used_last() -> None:
    """The pool drops a key when the process drops the template: RenderWorker would fail on a key that it lacks."""
    models = [model(f"{{{{ {number} }}}}") for number in range(KEPT_MODELS + 1)]
    process, worker = _Process(cast(Any, None), 1), RenderWorker()

    for each in [*models, models[1], models[0], models[-1], models[1], models[2]]:
        reply = worker.answer(process.command(each, HI))
        assert each.source.strip("{ }").encode() in reply
        assert process.known[-1] == each.key
        assert set(worker._models) == set(process.known)

    assert len(process.known) == KEPT_MODELS

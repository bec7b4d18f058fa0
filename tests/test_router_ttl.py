"""How long a model stays in memory: until another needs the room, or its `ttl` is over."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from router_fakes import FakeLauncher, FakeTimers, asked, in_memory, make_router, started

from localrouter.errors import ModelLoadFailed, ShuttingDown
from localrouter.router.router import Router


@pytest.fixture
def launcher() -> FakeLauncher:
    return FakeLauncher()


@pytest.fixture
def timers() -> FakeTimers:
    return FakeTimers()


@pytest.fixture
def router(launcher: FakeLauncher, timers: FakeTimers) -> Router:
    return make_router(launcher, timers)


async def test_a_model_without_requests_for_its_ttl_is_unloaded(router: Router, timers: FakeTimers) -> None:
    await asked(router, "a", ttl=60)
    assert timers.seconds == [60]
    assert in_memory(router) == ["0"]

    timers.fire()

    assert in_memory(router) == []


async def test_without_a_ttl_a_model_stays(router: Router, timers: FakeTimers) -> None:
    await asked(router, "a")
    assert timers.seconds == []


async def test_the_ttl_counts_from_the_end_of_the_last_request(router: Router, timers: FakeTimers) -> None:
    async with AsyncExitStack() as outer:
        await outer.enter_async_context(router.lease("a", 60))
        await asked(router, "a", ttl=60)
        assert timers.seconds == []
    assert timers.seconds == [60]


async def test_a_request_in_between_starts_the_count_anew(router: Router, timers: FakeTimers) -> None:
    await asked(router, "a", ttl=60)
    async with router.lease("a"):
        assert timers.seconds == []
    assert timers.seconds == [60]


async def test_the_latest_ttl_counts(router: Router, timers: FakeTimers) -> None:
    for ttl, counted in ((60, 60), (5, 5), (None, 5), (0, 0)):
        await asked(router, "a", ttl)
        assert timers.seconds == [counted]


async def test_a_model_that_left_memory_has_no_ttl_any_more(router: Router, timers: FakeTimers) -> None:
    await asked(router, "a", ttl=0)
    timers.fire()
    await asked(router, "a")
    assert timers.seconds == []
    assert in_memory(router) == ["0"]


async def test_a_model_whose_load_outlives_its_request_expires_too(
    router: Router, launcher: FakeLauncher, timers: FakeTimers
) -> None:
    launcher.go.clear()
    asking = asyncio.create_task(asked(router, "a", ttl=60))
    await started(launcher, 1)
    asking.cancel()
    await asyncio.wait([asking])
    timers.fire()

    launcher.go.set()
    await router.engine("a")

    assert timers.seconds == [60]


async def test_a_failed_load_leaves_nothing_that_could_expire(
    router: Router, launcher: FakeLauncher, timers: FakeTimers
) -> None:
    launcher.failure = ModelLoadFailed("broken")
    with pytest.raises(ModelLoadFailed):
        await asked(router, "a", ttl=0)
    timers.fire()
    assert in_memory(router) == []


async def test_a_model_that_makes_room_expires_no_more(router: Router, timers: FakeTimers) -> None:
    await asked(router, "a", ttl=60)
    for name in ("b", "c"):
        await asked(router, name)
    assert in_memory(router) == ["1", "2"]
    assert timers.seconds == []


async def test_a_model_is_not_loaded_beside_one_that_is_still_being_unloaded(
    router: Router, launcher: FakeLauncher, timers: FakeTimers
) -> None:
    await asked(router, "a", ttl=0)
    launcher.started[0].may_end.clear()
    timers.fire()
    again = asyncio.create_task(asked(router, "a"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(launcher.started) == 1

    launcher.started[0].may_end.set()

    await again
    assert len(launcher.started) == 2


async def test_a_lent_model_is_not_unloaded_even_before_it_is_busy(router: Router, launcher: FakeLauncher) -> None:
    async with router.lease("a"):
        for name in ("b", "c"):
            await asked(router, name)
        assert launcher.started[0].is_alive


async def test_closing_waits_for_unloading_models(router: Router, launcher: FakeLauncher, timers: FakeTimers) -> None:
    await asked(router, "a", ttl=0)
    launcher.started[0].may_end.clear()
    timers.fire()
    closing = asyncio.create_task(router.close())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not closing.done()

    launcher.started[0].may_end.set()

    await closing


async def test_a_closed_router_counts_no_more(router: Router, timers: FakeTimers) -> None:
    await asked(router, "a", ttl=60)
    async with router.lease("b", 60):
        await router.close()
    assert timers.seconds == []


async def test_a_request_that_waits_for_room_fails_when_the_router_closes(
    router: Router, launcher: FakeLauncher, timers: FakeTimers
) -> None:
    await asked(router, "a", ttl=0)
    launcher.started[0].may_end.clear()
    timers.fire()
    waiting = asyncio.create_task(asked(router, "b"))
    await asyncio.sleep(0)
    closing = asyncio.create_task(router.close())
    await asyncio.sleep(0)

    launcher.started[0].may_end.set()

    with pytest.raises(ShuttingDown):
        await waiting
    await closing
    assert len(launcher.started) == 1

"""The router: one engine per build, started once, replaced when it dies, unloaded when another needs the room."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from fake_engine import INFO

from localrouter.config import EngineSettings, Settings
from localrouter.engine.client import Generation
from localrouter.engine.messages import Gauge, Generate, LoadOptions, Segment, Tokens
from localrouter.errors import ModelLoadFailed, ModelNotFound, Overloaded, ShuttingDown
from localrouter.memory.machine import Machine
from localrouter.router import Router
from localrouter.weights.catalog import Catalog, ResolvedModel
from localrouter.weights.manifest.manifest import Build, Manifest, Model, default_manifest_path, load_manifest


class FakeEngine:
    """An engine that only knows whether it is alive and busy."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.gauge = Gauge()
        self.info = INFO
        self.in_flight = 0
        self.is_alive = True
        self.may_end = asyncio.Event()
        self.may_end.set()

    def submit(self, command: Generate) -> Generation:
        raise AssertionError("nothing is generated here")

    async def tokenize(self, prompt: list[Segment], begin: bool = True) -> Tokens:
        raise AssertionError("nothing is tokenized here")

    async def detokenize(self, tokens: list[int]) -> Tokens:
        raise AssertionError("nothing is tokenized here")

    async def close(self) -> None:
        self.is_alive = False
        await self.may_end.wait()


class FakeLauncher:
    """Starts FakeEngines, each once `go` is set, and remembers them."""

    def __init__(self) -> None:
        self.started: list[FakeEngine] = []
        self.go = asyncio.Event()
        self.go.set()
        self.failure: ModelLoadFailed | None = None

    async def __call__(self, model: ResolvedModel, settings: Settings) -> FakeEngine:
        self.started.append(FakeEngine(model.model))
        engine = self.started[-1]
        await self.go.wait()
        if self.failure:
            raise self.failure
        return engine


class FakeTimers:
    """Keeps what is to be called later; the test says when the time has come."""

    def __init__(self) -> None:
        self.pending: list[FakeTimer] = []

    def call_later(self, seconds: float, callback: Callable[[], None]) -> "FakeTimer":
        self.pending.append(FakeTimer(self, seconds, callback))
        return self.pending[-1]

    @property
    def seconds(self) -> list[float]:
        return [timer.seconds for timer in self.pending]

    def fire(self) -> None:
        pending, self.pending = self.pending, []
        for timer in pending:
            timer.callback()


@dataclass
class FakeTimer:
    """One call that is to come."""

    timers: FakeTimers
    seconds: float
    callback: Callable[[], None]

    def cancel(self) -> None:
        if self in self.timers.pending:
            self.timers.pending.remove(self)


@pytest.fixture
def launcher() -> FakeLauncher:
    return FakeLauncher()


@pytest.fixture
def timers() -> FakeTimers:
    return FakeTimers()


@pytest.fixture
def router(launcher: FakeLauncher, timers: FakeTimers) -> Router:
    manifest = default_manifest_path()
    names = {name: f"builtin:echo?step_ms={number}" for number, name in enumerate("abc")}
    catalog = Catalog(load_manifest(manifest), Path(manifest).parent, names)
    return Router(catalog, Settings(max_loaded=2), launcher, timers.call_later)


async def asked(router: Router, name: str, ttl: int | None = None) -> None:
    """Make a request, from its beginning to its end."""
    async with router.lease(name, ttl):
        pass


def in_memory(router: Router) -> list[str]:
    return [status.model.removeprefix("localrouter-echo?step_ms=") for status in router.status()]


async def started(launcher: FakeLauncher, count: int) -> None:
    """Let the loop run until so many engines have been started."""
    while len(launcher.started) < count:  # noqa: ASYNC110 - it is the turns of the loop that are waited for
        await asyncio.sleep(0)


async def test_requests_for_a_running_model_share_its_engine(router: Router, launcher: FakeLauncher) -> None:
    assert await router.engine("a") is await router.engine("a")
    assert len(launcher.started) == 1


async def test_requests_that_come_while_it_loads_wait_for_the_same_load(router: Router, launcher: FakeLauncher) -> None:
    launcher.go.clear()
    waiting = [asyncio.create_task(router.engine("a")) for _ in range(5)]
    await started(launcher, 1)
    assert [status.state for status in router.status()] == ["loading"]

    launcher.go.set()

    assert set(await asyncio.gather(*waiting)) == set(launcher.started)
    assert len(launcher.started) == 1


async def test_a_caller_that_gives_up_does_not_stop_the_load_for_the_others(
    router: Router, launcher: FakeLauncher
) -> None:
    launcher.go.clear()
    first, second = (asyncio.create_task(router.engine("a")) for _ in range(2))
    await started(launcher, 1)

    first.cancel()
    launcher.go.set()

    assert (await second).is_alive
    assert len(launcher.started) == 1


async def test_the_log_says_why_a_build_was_chosen(
    launcher: FakeLauncher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    builds = tuple(Build(name=name, path=f"{name}.gguf") for name in ("Small", "Larger"))
    for build in builds:
        (tmp_path / f"{build.name}.gguf").write_bytes(build.name.encode())
    manifest = Manifest(version=1, models={"two": Model(builds=builds)})
    catalog = Catalog(manifest, tmp_path, machine=lambda: Machine(10**9, 10**9))
    router = Router(catalog, Settings(), launcher)

    with caplog.at_level("INFO"):
        await router.engine("two")
        await router.engine("Small")

    chosen, named = (record.getMessage() for record in caplog.records if record.getMessage().startswith("loaded"))
    assert chosen.startswith("loaded Larger (the largest of 2 on disk that fits in 0.7 GB) in ")
    assert named.startswith("loaded Small in ")


def test_a_worker_that_is_told_nothing_does_what_the_settings_say() -> None:
    defaults = {name: setting.default for name, setting in EngineSettings.model_fields.items()}
    assert msgspec.structs.asdict(LoadOptions()) == defaults


async def test_a_dead_engine_is_replaced_at_the_next_request(router: Router, launcher: FakeLauncher) -> None:
    await router.engine("a")
    launcher.started[0].is_alive = False

    assert (await router.engine("a")).is_alive
    assert [status.starts for status in router.status()] == [2]


async def test_a_failed_load_is_told_to_all_and_tried_again_at_the_next_request(
    router: Router, launcher: FakeLauncher
) -> None:
    launcher.failure = ModelLoadFailed("broken")
    results = await asyncio.gather(*(router.engine("a") for _ in range(3)), return_exceptions=True)
    assert results == [launcher.failure] * 3
    assert router.status() == []

    launcher.failure = None

    assert (await router.engine("a")).is_alive


async def test_the_model_idle_for_longest_makes_room(router: Router, launcher: FakeLauncher) -> None:
    for name in ("a", "b", "a", "c"):
        await router.engine(name)

    assert [engine.is_alive for engine in launcher.started] == [True, False, True]


async def test_a_busy_model_is_not_unloaded(router: Router, launcher: FakeLauncher) -> None:
    for name in ("a", "b"):
        await router.engine(name)
    launcher.started[0].in_flight = 1

    await router.engine("c")

    assert [engine.is_alive for engine in launcher.started] == [True, False, True]


async def test_when_all_are_busy_the_client_is_told_when_to_come_back(router: Router, launcher: FakeLauncher) -> None:
    for name in ("a", "b"):
        await router.engine(name)
    for engine in launcher.started:
        engine.in_flight = 1

    with pytest.raises(Overloaded) as caught:
        await router.engine("c")
    assert caught.value.retry_after > 0


async def test_an_unknown_model_is_not_started(router: Router, launcher: FakeLauncher) -> None:
    with pytest.raises(ModelNotFound):
        await router.engine("nothing")
    assert not launcher.started


async def test_closing_ends_every_engine_and_takes_no_more_requests(router: Router, launcher: FakeLauncher) -> None:
    for name in ("a", "b"):
        await router.engine(name)

    await router.close()

    assert not any(engine.is_alive for engine in launcher.started)
    with pytest.raises(ShuttingDown):
        await router.engine("a")


async def test_closing_stops_a_load_that_is_under_way(router: Router, launcher: FakeLauncher) -> None:
    launcher.go.clear()
    waiting = asyncio.create_task(router.engine("a"))
    await started(launcher, 1)

    await router.close()

    with pytest.raises((asyncio.CancelledError, ShuttingDown)):
        await waiting


async def test_a_model_leaves_memory_when_nobody_asked_for_it_for_its_ttl(router: Router, timers: FakeTimers) -> None:
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


async def test_a_model_is_not_loaded_beside_one_that_is_still_leaving(
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


async def test_closing_waits_for_what_is_leaving(router: Router, launcher: FakeLauncher, timers: FakeTimers) -> None:
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


async def test_who_waits_for_room_when_it_closes_is_told_so(
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

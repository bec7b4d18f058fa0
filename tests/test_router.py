"""The router: one engine per build, started once, replaced when it dies, unloaded when another needs the room."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from router_fakes import FakeLauncher, FakeTimers, make_router, started

from localrouter.config import Settings
from localrouter.errors import ModelLoadFailed, ModelNotFound, Overloaded, ShuttingDown
from localrouter.memory.machine import Machine
from localrouter.router.router import Router
from localrouter.weights.catalog import Catalog
from localrouter.weights.manifest.manifest import Build, Manifest, Model


@pytest.fixture
def launcher() -> FakeLauncher:
    return FakeLauncher()


@pytest.fixture
def timers() -> FakeTimers:
    return FakeTimers()


@pytest.fixture
def router(launcher: FakeLauncher, timers: FakeTimers) -> Router:
    return make_router(launcher, timers)


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


async def test_the_log_has_the_reason_for_a_chosen_build(
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


async def test_a_dead_engine_is_replaced_at_the_next_request(router: Router, launcher: FakeLauncher) -> None:
    await router.engine("a")
    launcher.started[0].is_alive = False

    assert (await router.engine("a")).is_alive
    assert [status.starts for status in router.status()] == [2]


async def test_a_failed_load_is_raised_for_all_callers_and_repeated_at_the_next_request(
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


async def test_when_all_models_are_busy_the_error_has_a_time_to_retry(router: Router, launcher: FakeLauncher) -> None:
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


def bare_router(tmp_path: Path, launcher: FakeLauncher) -> Router:
    (tmp_path / "bare.gguf").write_bytes(b"GGUF")
    build = Build(name="Bare-Q8_0", path="bare.gguf")
    manifest = Manifest(version=1, models={"bare": Model(builds=(build,))})
    return Router(Catalog(manifest, tmp_path), Settings(), launcher)


async def test_a_model_without_a_chat_template_is_warned_of_when_it_is_loaded(
    tmp_path: Path, launcher: FakeLauncher, caplog: pytest.LogCaptureFixture
) -> None:
    await bare_router(tmp_path, launcher).engine("bare")
    [warning] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "Bare-Q8_0 has no chat template: it uses fallback chatml" in warning
    assert "use an instruction-tuned file" in warning


async def test_a_model_with_a_template_or_without_weights_causes_no_warning(
    tmp_path: Path, router: Router, launcher: FakeLauncher, caplog: pytest.LogCaptureFixture
) -> None:
    await router.engine("a")
    launcher.info = msgspec.structs.replace(launcher.info, chat_template="{{ messages }}", template_source="model")
    await bare_router(tmp_path, launcher).engine("bare")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]

"""A model that fails with layers on a GPU is started again with fallbacks, each once, and these are stored."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_engine import INFO
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from localrouter.engine.fallbacks import Fallback, with_fallbacks
from localrouter.engine.ipc.load_fallback import FallbackStore, learn_from_crash, next_fallback, start_with_fallbacks
from localrouter.engine.messages import Load, Loading
from localrouter.engine.model_info import ComputeDevice
from localrouter.errors import ModelLoadFailed, OffloadFailed
from localrouter.load_options import LoadOptions

GPU = ComputeDevice("a card", 25, 25, "Vulkan0")
WHY = "The worker was ended by signal 11 while it loaded the model."
LADDER = [("gpu_sampling", "off"), ("flash_attention", "off"), ("gpu_layers", 12), ("gpu_layers", 0)]


class Machine:
    """Starts workers as a machine does on which a model fails until `works` likes the settings."""

    def __init__(
        self, works: Callable[[LoadOptions], bool], *, crashes: bool = True, device: ComputeDevice = GPU
    ) -> None:
        self.works = works
        self.crashes = crashes
        self.device = device
        self.tried: list[LoadOptions] = []

    async def start(self, load: Load, *, on_loading: Callable[[Loading], None], **_: object) -> str:
        options = with_fallbacks(load.options, load.fallbacks, self.device.ids)
        self.tried.append(options)
        layers = 25 if options.gpu_layers in {"auto", "all"} else int(options.gpu_layers)
        on_loading(Loading(replace(self.device, offloaded_layers=layers), options, load.fallbacks))
        if self.works(options):
            return "a worker"
        if not layers:
            raise ModelLoadFailed(WHY)
        raise OffloadFailed(WHY, crashed=self.crashes)


def start(machine: Machine, store: FallbackStore, options: LoadOptions | None = None, path: str = "m.gguf") -> None:
    load = Load(path, options=options or LoadOptions())
    asyncio.run(start_with_fallbacks(load, timeout=1, store=store, start=machine.start))  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> FallbackStore:
    return FallbackStore(tmp_path / "state" / "fallbacks.json")


def stored(store: FallbackStore, path: str = "m.gguf") -> list[tuple[str, str | int]]:
    return [(each.setting, each.value) for each in store.of(path)]


def test_each_setting_is_given_up_once_until_the_model_works_on_the_cpu(store: FallbackStore) -> None:
    machine = Machine(lambda options: options.gpu_layers == 0)
    start(machine, store)
    assert [options.gpu_layers for options in machine.tried] == ["auto", "auto", "auto", 12, 0]
    assert stored(store) == LADDER


def test_the_next_start_begins_where_the_last_one_worked(store: FallbackStore) -> None:
    first = Machine(lambda options: options.gpu_sampling == "off")
    start(first, store)
    second = Machine(lambda options: options.gpu_sampling == "off")
    start(second, store)
    assert (len(first.tried), len(second.tried)) == (2, 1)


def test_on_another_device_no_fallback_applies(store: FallbackStore) -> None:
    start(Machine(lambda options: options.gpu_sampling == "off"), store)
    other = Machine(lambda options: True, device=replace(GPU, ids="CUDA0"))
    start(other, store)
    assert other.tried[0].gpu_sampling == "auto"


def test_another_file_is_another_matter(store: FallbackStore, tmp_path: Path) -> None:
    model = tmp_path / "m.gguf"
    model.write_bytes(b"one")
    start(Machine(lambda options: options.gpu_sampling == "off"), store, path=str(model))
    assert stored(store, str(model)) == LADDER[:1]
    model.write_bytes(b"another")
    assert stored(store, str(model)) == []


def test_a_lack_of_memory_takes_fewer_layers_at_once_and_is_not_stored(store: FallbackStore) -> None:
    machine = Machine(lambda options: options.gpu_layers == 12, crashes=False)
    start(machine, store)
    assert [(options.gpu_sampling, options.gpu_layers) for options in machine.tried] == [("auto", "auto"), ("auto", 12)]
    assert stored(store) == []


def test_of_a_lack_of_memory_and_a_crash_only_the_crash_is_stored(store: FallbackStore) -> None:
    machine = Machine(lambda options: options.gpu_layers == 12 and options.gpu_sampling == "off", crashes=False)

    async def scarce_then_crashing(load: Load, **more: object) -> str:
        machine.crashes = len(machine.tried) == 1
        return await machine.start(load, **more)  # type: ignore[arg-type]

    asyncio.run(start_with_fallbacks(Load("m.gguf"), timeout=1, store=store, start=scarce_then_crashing))  # type: ignore[arg-type]
    assert [(each.gpu_layers, each.gpu_sampling) for each in machine.tried[1:]] == [(12, "auto"), (12, "off")]
    assert stored(store) == [("gpu_sampling", "off")]


@pytest.mark.parametrize(
    "asked",
    [
        LoadOptions(gpu_sampling="on", flash_attention="on", gpu_layers="all"),
        LoadOptions(gpu_sampling="on", kv_type="q8_0", require_gpu=True),
    ],
)
def test_a_stored_fallback_changes_no_option_that_the_operator_set(asked: LoadOptions) -> None:
    fallbacks = [Fallback(GPU.ids, *rung, why=WHY) for rung in LADDER if rung != ("gpu_layers", 12)]  # type: ignore[arg-type]
    assert with_fallbacks(asked, fallbacks, GPU.ids) == asked


def test_where_a_gpu_is_required_the_cpu_is_no_way_out(store: FallbackStore) -> None:
    machine = Machine(lambda options: False)
    with pytest.raises(OffloadFailed):
        start(machine, store, LoadOptions(require_gpu=True))
    assert machine.tried[-1].gpu_layers == 12
    assert stored(store) == [], "a fallback that did not help is not stored"


def test_a_model_that_fails_without_a_gpu_too_is_refused(store: FallbackStore) -> None:
    machine = Machine(lambda options: False)
    with pytest.raises(ModelLoadFailed):
        start(machine, store)
    assert len(machine.tried) == 5


@pytest.mark.parametrize("asked", [LoadOptions(gpu_layers="all"), LoadOptions(gpu_layers=7)])
def test_layers_that_the_operator_asked_for_are_not_given_up(store: FallbackStore, asked: LoadOptions) -> None:
    machine = Machine(lambda options: False)
    with pytest.raises(OffloadFailed):
        start(machine, store, asked)
    assert {options.gpu_layers for options in machine.tried} == {asked.gpu_layers}


@given(
    st.builds(
        LoadOptions,
        gpu_layers=st.sampled_from(["auto", "all", 0, 1, 30]),
        gpu_sampling=st.sampled_from(["auto", "on", "off"]),
        flash_attention=st.sampled_from(["auto", "on", "off"]),
        kv_type=st.sampled_from(["f16", "q8_0"]),
        require_gpu=st.booleans(),
    ),
    st.booleans(),
)
def test_fallbacks_come_to_an_end_for_any_options(asked: LoadOptions, crashed: bool) -> None:
    fallbacks: list[Fallback] = []
    while True:
        options = with_fallbacks(asked, fallbacks, GPU.ids)
        layers = 25 if isinstance(options.gpu_layers, str) else options.gpu_layers
        loading = Loading(replace(GPU, offloaded_layers=layers), options)
        given_up = next_fallback(asked, loading, crashed=crashed, why=WHY)
        if given_up is None:
            break
        assert with_fallbacks(asked, [*fallbacks, given_up], GPU.ids) != options
        fallbacks.append(given_up)
    assert len(fallbacks) <= len(LADDER)
    assert not (asked.require_gpu and ("gpu_layers", 0) in {(each.setting, each.value) for each in fallbacks})


def test_a_crash_with_the_first_request_changes_the_next_start(store: FallbackStore) -> None:
    info = replace(INFO, device=GPU, options=LoadOptions(gpu_sampling="off"))
    learn_from_crash(Load("m.gguf", options=LoadOptions(gpu_sampling="off")), info, "was ended by signal 6", store)
    assert stored(store) == [("flash_attention", "off")]


def test_a_crash_on_the_cpu_teaches_nothing(store: FallbackStore) -> None:
    cpu = replace(INFO, device=ComputeDevice("CPU", 0, 25))
    assert learn_from_crash(Load("m.gguf"), cpu, "was ended by signal 6", store) is None
    assert stored(store) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": [{"device": 1}]}'])
def test_a_damaged_store_is_logged_and_not_used(
    store: FallbackStore, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    store._path.parent.mkdir()
    store._path.write_text(content)
    assert store.of("m.gguf") == ()
    assert "cannot be read" in caplog.text
    start(Machine(lambda options: options.gpu_sampling == "off"), store)
    assert stored(store) == LADDER[:1]


def test_a_state_folder_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    start(Machine(lambda options: options.gpu_sampling == "off"), FallbackStore(tmp_path / "file" / "fallbacks.json"))
    assert "are not stored" in caplog.text


def test_all_fallbacks_can_be_forgotten(store: FallbackStore) -> None:
    start(Machine(lambda options: options.gpu_sampling == "off"), store)
    assert (store.forget(), store.forget()) == (1, 0)

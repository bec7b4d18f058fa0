"""Context and capabilities of models that are not loaded."""

from pathlib import Path

import pytest

from localrouter.api.model_forecast import Forecast, Forecaster, capabilities
from localrouter.engine.backends.echo import EchoBackend
from localrouter.load_options import LoadOptions
from localrouter.memory.machine import Machine, UnknownDevice
from localrouter.weights.catalog import Catalog, ResolvedModel
from localrouter.weights.manifest.manifest import Manifest, default_manifest_path, load_manifest

ROOMY = Machine(16 * 10**9, 32 * 10**9)
DEMO_CONTEXT = 4096


def forecast(
    model: ResolvedModel, machine: Machine = ROOMY, *, context: int | None = None, cells: int | None = None
) -> Forecast:
    return Forecaster(LoadOptions(context=context, cells=cells), lambda _: machine).forecast(model)


def demo(**overrides: object) -> ResolvedModel:
    build = load_manifest(default_manifest_path()).models["demo"].builds[0].model_dump(exclude_none=True)
    manifest = Manifest.model_validate({"version": 1, "models": {"demo": {"builds": [build], **overrides}}})
    return Catalog(manifest, Path.cwd()).resolve("demo")


def own(folder: Path, content: bytes, **build: object) -> ResolvedModel:
    (folder / "own.gguf").write_bytes(content)
    source = {"name": "own", "path": str(folder / "own.gguf"), **build}
    manifest = Manifest.model_validate({"version": 1, "models": {"own": {"builds": [source]}}})
    return Catalog(manifest, folder).resolve("own")


def test_the_demo_model_has_the_context_of_its_file() -> None:
    assert forecast(demo()) == Forecast(DEMO_CONTEXT, ["completion", "tools", "reasoning"])


def test_settings_of_the_server_and_then_of_the_alias_decide() -> None:
    assert forecast(demo(), context=512).context == 512
    assert forecast(demo(context=256), context=512).context == 256
    assert forecast(demo(), cells=1024).context == 1024


def test_little_memory_leaves_less_context_and_too_little_none() -> None:
    assert forecast(demo(), Machine(8 * 10**9, 8 * 10**9)).context == DEMO_CONTEXT
    assert forecast(demo(), Machine(10**6, 10**9)).context is None


def test_a_gpu_that_is_not_here_leaves_the_context_unknown() -> None:
    def missing(devices: str | None) -> Machine:
        raise UnknownDevice(str(devices))

    forecaster = Forecaster(LoadOptions(), missing)
    assert forecaster.forecast(demo(device="CUDA9")) == Forecast(None, ["completion", "tools", "reasoning"])


def test_shares_for_other_gpus_leave_the_context_unknown() -> None:
    assert forecast(demo(tensor_split=[1, 1])).context is None


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a GGUF", bytes(4096)])
def test_a_broken_file_is_a_model_of_which_nothing_is_known(tmp_path: Path, content: bytes) -> None:
    assert forecast(own(tmp_path, content)) == Forecast(None, ["completion"])


def test_the_template_of_the_manifest_decides(tmp_path: Path) -> None:
    (tmp_path / "plain.jinja").write_text("{{ messages }}")
    asset = Path(demo().path).read_bytes()
    assert forecast(own(tmp_path, asset, chat_template=str(tmp_path / "plain.jinja"))).capabilities == ["completion"]
    assert "tools" in forecast(own(tmp_path, asset, chat_template="missing.jinja")).capabilities


@pytest.mark.parametrize(
    ("context", "cells", "effective"), [(None, None, 8192), (100, None, 100), (100, 50, 50), (None, 64, 64)]
)
def test_a_model_without_weights_has_the_context_of_its_backend(
    context: int | None, cells: int | None, effective: int
) -> None:
    echo = Catalog(Manifest(version=1, models={}), Path.cwd(), {"echo": "builtin:echo"}).resolve("echo")
    assert forecast(echo, context=context, cells=cells) == Forecast(effective, ["completion"])
    assert EchoBackend(LoadOptions(context=context, cells=cells)).info.context == effective


def test_capabilities_come_from_the_template_and_the_vocabulary() -> None:
    assert capabilities(None, has_fim=True) == ["completion", "fim"]
    assert capabilities("<|channel> <|tool_call>", has_fim=False) == ["completion", "tools", "reasoning"]
    assert capabilities("<think>", has_fim=False) == ["completion", "reasoning"]

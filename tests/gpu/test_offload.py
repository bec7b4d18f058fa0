"""Offload that runs: on Mesa's software device under `make test-gpu`, on a GPU where llama.cpp was built for one."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from running_server import RunningServer, serving

from localrouter.memory import devices
from localrouter.memory.devices import Device, is_built_for_gpu, used_by_default

pytestmark = pytest.mark.skipif(not is_built_for_gpu(), reason="llama.cpp is built for the CPU; make test-gpu")
PATIENCE = 240
"""Seconds for the first output: a software device compiles its shaders first, on cores that may be busy."""
DEMO = "localrouter-demo-Q8_0"
QUESTION = [{"role": "user", "content": "What is the capital of the Netherlands?"}]
two_vulkan_devices = {"GGML_VK_VISIBLE_DEVICES": "0,0"}
"""llama.cpp then lists the same device twice."""
needs_vulkan = pytest.mark.skipif(
    is_built_for_gpu() and not any("Vulkan" in each.name for each in devices.ask()), reason="not a Vulkan build"
)


@contextmanager
def demo(folder: Path, *arguments: str, **environment: str) -> Iterator[RunningServer]:
    """Serve the embedded model as a user does, with a memory of its own for what failed before."""
    with serving(*arguments, XDG_STATE_HOME=str(folder), LD_PRELOAD="", **environment) as server:
        yield server


def ask(server: RunningServer, **fields: Any) -> httpx.Response:
    body = {"model": "demo", "messages": QUESTION, "temperature": 0, "max_tokens": 30} | fields
    return httpx.post(f"{server.base_url}/chat/completions", json=body, timeout=PATIENCE)


def said(response: httpx.Response) -> str:
    return str(response.raise_for_status().json()["choices"][0]["message"]["content"])


def gpu() -> Device:
    """The first device that is offloaded to by default; there has to be one."""
    return used_by_default(devices.ask())[0]


def test_a_gpu_is_listed_with_its_memory() -> None:
    assert 0 < gpu().free <= gpu().total


def test_with_defaults_the_first_question_is_answered_on_the_gpu(tmp_path: Path) -> None:
    with demo(tmp_path) as server:
        assert "Amsterdam" in said(ask(server))
        model, health = server.get("/v1/models/demo"), server.engine(DEMO)
    assert (model["device"], model["offloaded_layers"]) == (gpu().description, model["layers"])
    assert (model["fallbacks"], health["starts"]) == ([], 1), "nothing had to be given up"


def test_several_choices_and_a_second_question_are_answered_by_the_same_worker(tmp_path: Path) -> None:
    with demo(tmp_path) as server:
        choices = ask(server, n=3, temperature=1, top_k=5).raise_for_status().json()["choices"]
        again = ask(server).raise_for_status().json()
        assert server.engine(DEMO)["starts"] == 1
    assert len(choices) == 3
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 0


@pytest.mark.parametrize(
    "options",
    [
        ("--gpu-layers", "2"),
        ("--kv-type", "q8_0"),
        ("--flash-attention", "off"),
        ("--gpu-sampling", "off", "--gpu-layers", "all", "--require-gpu"),
    ],
    ids=" ".join,
)
def test_settings_of_the_offload_are_honoured(tmp_path: Path, options: tuple[str, ...]) -> None:
    with demo(tmp_path, *options) as server:
        assert "Amsterdam" in said(ask(server))
        model = server.get("/v1/models/demo")
    assert model["fallbacks"] == []
    assert model["offloaded_layers"] == (2 if "2" in options else model["layers"])


def test_without_layers_on_it_the_gpu_is_left_alone(tmp_path: Path) -> None:
    with demo(tmp_path, "--gpu-layers", "0") as server:
        assert "Amsterdam" in said(ask(server))
        assert server.get("/v1/models/demo")["device"] == "CPU"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--device", "Nothing7"), "device 'Nothing7' is not on this machine; there are"),
        (("--tensor-split", "1,2,3,4,5"), "a share for each GPU that is used"),
    ],
)
def test_devices_that_cannot_be_used_are_refused_at_start(options: tuple[str, ...], why: str) -> None:
    command = [sys.executable, "-m", "localrouter", "serve", "--port", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 2
    assert why in done.stderr
    assert gpu().name in done.stderr


@needs_vulkan
def test_two_devices_share_the_layers(tmp_path: Path) -> None:
    with demo(tmp_path, "--tensor-split", "1,1", **two_vulkan_devices) as server:
        assert "Amsterdam" in said(ask(server))
        assert server.get("/v1/models/demo")["device"].count(",") >= 1


@needs_vulkan
@pytest.mark.parametrize("visible", ["", "7"])
def test_a_gpu_that_vanished_is_refused_where_one_is_required(tmp_path: Path, visible: str) -> None:
    with demo(tmp_path, "--require-gpu", GGML_VK_VISIBLE_DEVICES=visible) as server:
        error = ask(server).json()["error"]
    assert "require_gpu is set, and no GPU can be used: none was found" in error["message"]


@needs_vulkan
def test_a_gpu_that_vanished_leaves_the_cpu_otherwise(tmp_path: Path) -> None:
    with demo(tmp_path, GGML_VK_VISIBLE_DEVICES="7") as server:
        assert "Amsterdam" in said(ask(server))
        assert server.get("/v1/models/demo")["device"] == "CPU"


def test_the_plan_counts_with_the_same_gpus() -> None:
    command = [sys.executable, "-m", "localrouter", "plan", "demo", "--offline", "--json"]
    planned = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE).stdout)
    assert [each["device"] for each in planned["machine"]["gpus"]] == [gpu().name]
    assert planned["builds"][0]["place"] == "gpu"

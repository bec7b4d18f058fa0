"""`localrouter devices`: what is listed, which GPUs are marked, and what is said where there is none."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from localrouter.cli import devices as command
from localrouter.cli import main
from localrouter.cli.devices import list_devices, used_of
from localrouter.engine.fallbacks import Fallback
from localrouter.engine.ipc.load_fallback import default_store
from localrouter.errors import OperatorError
from localrouter.memory.devices import Device, DeviceKind, DevicesUnknown

CPU = Device("CPU", "a processor", "CPU", DeviceKind.CPU, 8 * 10**9, 16 * 10**9)
CARD = Device("CUDA0", "a card", "CUDA", DeviceKind.GPU, 5 * 10**9, 6 * 10**9, "0000:01:00.0", 4 * 10**9, 6 * 10**9)
OTHER = Device(
    "Vulkan1", "a card with a name that is much longer than others", "Vulkan", DeviceKind.GPU, 10**9, 2 * 10**9
)
Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command where llama.cpp has these devices."""

    def run_with(*devices: Device, options: tuple[str, ...] = (), **env: str) -> Result:
        monkeypatch.setattr(command, "ask", lambda: devices)
        monkeypatch.setattr(command, "is_built_for_gpu", lambda: len(devices) > 1)
        return CliRunner().invoke(main, ["devices", *options], env=env)

    return run_with


def test_models_that_failed_on_a_gpu_are_told_of_until_they_are_forgotten(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    default_store().remember("m.gguf", [Fallback("CUDA0", "flash_attention", "off", "It crashed.")])
    assert "1 model file failed on a GPU" in run(CARD, CPU).stderr
    assert "forgotten: the safer settings of 1 model file" in run(CARD, CPU, options=("--forget",)).stderr
    assert default_store().of("m.gguf") == ()
    assert run(CARD, CPU).stderr == ""


def test_a_row_has_what_ggml_and_the_driver_say(run: Run) -> None:
    assert [" ".join(line.split()) for line in run(CARD, CPU).stdout.splitlines()] == [
        "device kind backend free driver: free total description",
        "> CUDA0 gpu CUDA 5.00 GB 4.00 GB 6.00 GB a card",
        "CPU cpu CPU 8.00 GB - 16.0 GB a processor",
    ]


def test_gpus_that_are_used_are_marked_and_nothing_is_remarked(run: Run) -> None:
    assert marked(run(CARD, OTHER, CPU)) == ["CUDA0", "Vulkan1"]
    chosen = run(CARD, OTHER, CPU, LOCALROUTER_DEVICE="Vulkan1")
    assert (marked(chosen), chosen.stderr) == (["Vulkan1"], "")


def marked(result: Result) -> list[str]:
    return [line.split()[1] for line in result.stdout.splitlines() if line.startswith(">")]


def test_json_has_bytes_and_whether_a_device_is_used(run: Run) -> None:
    card, cpu = json.loads(run(CARD, CPU, options=("--json",)).stdout)["devices"]
    assert card == {
        "name": "CUDA0",
        "description": "a card",
        "backend": "CUDA",
        "kind": "gpu",
        "free": 5 * 10**9,
        "total": 6 * 10**9,
        "pci": "0000:01:00.0",
        "driver_free": 4 * 10**9,
        "driver_total": 6 * 10**9,
        "used": True,
    }
    assert (cpu["driver_free"], cpu["used"]) == (None, False)


def test_a_build_for_the_cpu_is_listed_with_what_to_do_on_stderr(run: Run) -> None:
    for options in ((), ("--json",)):
        result = run(CPU, options=options)
        assert (result.exit_code, "a processor" in result.stdout) == (0, True)
        assert result.stderr.startswith("llama.cpp was built for the CPU only; `BACKEND=... make install`")


def test_a_build_for_gpus_that_finds_none_points_to_the_driver() -> None:
    used, remark = used_of([CPU], None, built_for_gpu=True)
    assert (used, "look at the driver" in str(remark)) == (frozenset(), True)


def test_a_device_that_is_not_there_is_told_beside_those_that_are(run: Run) -> None:
    result = run(CARD, CPU, LOCALROUTER_DEVICE="CUDA7")
    assert (result.exit_code, marked(result)) == (0, [])
    assert "LOCALROUTER_DEVICE=CUDA7 cannot be used: device 'CUDA7' is not on this machine; there are CUDA0" in (
        result.stderr
    )
    assert "BACKEND=" in run(CPU, LOCALROUTER_DEVICE="CUDA7").stderr


def test_where_ggml_cannot_be_asked_the_reason_is_an_error_of_the_operator(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask() -> tuple[Device, ...]:
        raise DevicesUnknown("llama.cpp could not list its devices (signal 6): no driver")

    run(CPU)
    monkeypatch.setattr(command, "ask", ask)
    result = CliRunner().invoke(main, ["devices"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: llama.cpp could not list its devices (signal 6): no driver\nhint: ")


def test_a_llama_cpp_without_any_device_is_an_error() -> None:
    with pytest.raises(OperatorError, match="not even the CPU"):
        list_devices(lambda: ())


def test_no_line_is_wider_than_the_terminal(run: Run) -> None:
    driver = replace(OTHER, kind=DeviceKind.INTEGRATED, driver_free=10**9)
    env = {"FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100"}
    lines = run(CARD, driver, CPU, **env).stdout.splitlines()
    assert max(map(len, lines)) <= 100


def test_the_installed_llama_cpp_lists_its_devices() -> None:
    result = CliRunner().invoke(main, ["devices", "--json"])
    assert result.exit_code == 0, result.output
    assert "cpu" in {device["kind"] for device in json.loads(result.stdout)["devices"]}

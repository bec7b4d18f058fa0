"""Devices: what ggml and the drivers say of GPUs, and which of them this machine counts with."""

import ctypes
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from localrouter.memory import devices, machine
from localrouter.memory.devices import (
    Device,
    DeviceKind,
    DevicesUnknown,
    listed,
    parse_nvidia,
    used_by_default,
    with_driver_memory,
)
from localrouter.memory.machine import Gpu, UnknownDevice, this_machine, with_devices

CPU, GPU, INTEGRATED = 0, 1, 2


class FakeGgml:
    """A ggml with devices of these types; of the n-th n bytes are free."""

    def __init__(self, *types: int) -> None:
        # Functions, because arguments and results of foreign ones are declared on them.
        self.ggml_backend_dev_count = lambda: len(types)
        self.ggml_backend_dev_get = lambda index: index
        self.ggml_backend_dev_backend_reg = lambda device: device
        self.ggml_backend_reg_name = lambda reg: b"Vulkan"
        self.ggml_backend_dev_get_props = self._properties(types)

    @staticmethod
    def _properties(types: tuple[int, ...]) -> Any:
        def fill(device: int, props: Any) -> None:
            found = props._obj
            found.name, found.type, found.memory_free, found.memory_total = b"GPU%d" % device, types[device], device, 99
            found.description = b"" if device == 0 else b"Card %d" % device
            found.device_id = None if device == 0 else b"0000:0%d:00.0" % device

        return fill


def device(name: str, kind: DeviceKind = DeviceKind.GPU, pci: str | None = None) -> Device:
    return Device(name, f"card of {name}", "Vulkan", kind, free=10, total=20, pci=pci)


def test_a_device_has_the_name_of_its_card_or_its_own() -> None:
    first, second = listed(cast(ctypes.CDLL, FakeGgml(GPU, INTEGRATED)))
    assert first == Device("GPU0", "GPU0", "Vulkan", DeviceKind.GPU, 0, 99)
    assert second == Device("GPU1", "Card 1", "Vulkan", DeviceKind.INTEGRATED, 1, 99, pci="0000:01:00.0")


def test_a_gpu_that_shares_the_ram_counts_only_where_there_is_no_other() -> None:
    own, shared, cpu = device("A"), device("B", DeviceKind.INTEGRATED), device("CPU", DeviceKind.CPU)
    assert used_by_default([cpu, shared, own]) == (own,)
    assert used_by_default([cpu, shared, replace(shared, name="C")]) == (shared,)
    assert used_by_default([cpu]) == ()


def test_a_card_that_two_backends_see_counts_once() -> None:
    both = [device("CUDA0", pci="0000:01:00.0"), device("Vulkan0", pci="0000:01:00.0")]
    assert used_by_default(both) == (both[0],)
    unknown = [device("Vulkan0"), device("Vulkan1")]
    assert used_by_default(unknown) == tuple(unknown)


def test_named_devices_are_used_in_the_order_of_their_names() -> None:
    known = [device("A"), device("B", DeviceKind.INTEGRATED), device("C")]
    found = with_devices(known, " C, B")
    assert [gpu.device for gpu in found.gpus] == ["C", "B"]
    assert found.gpus[0] == Gpu("card of C", 10, 20, "C")
    assert found.unified, "B works in the RAM"
    assert with_devices(known).gpus == with_devices(known, "A,C").gpus


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("D", "'D' is not on this machine; there are A, C"),
        ("A,,C", "'' is not"),
        ("A,A", "named twice"),
        ("CPU", "'CPU' is not"),
    ],
)
def test_a_device_that_cannot_be_used_is_refused_with_those_that_can(names: str, said: str) -> None:
    with pytest.raises(UnknownDevice, match=said):
        with_devices([device("A"), device("C"), device("CPU", DeviceKind.CPU)], names)


def test_without_gpus_no_device_can_be_named() -> None:
    with pytest.raises(UnknownDevice, match="no GPU here"):
        with_devices([device("CPU", DeviceKind.CPU)], "A")


def test_the_gpu_of_an_apple_chip_shares_the_ram(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not with_devices([device("MTL0")]).unified
    monkeypatch.setattr(machine, "gpu_shares_ram", lambda: True)
    assert with_devices([device("MTL0")]).unified
    assert not with_devices([]).unified


def test_a_build_for_the_cpu_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "is_built_for_gpu", lambda: False)
    monkeypatch.setattr(machine, "ask", pytest.fail)
    assert this_machine().gpus == ()


def test_where_ggml_cannot_be_asked_there_are_no_gpus_and_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def ask() -> tuple[Device, ...]:
        raise DevicesUnknown("the driver ended it")

    monkeypatch.setattr(machine, "is_built_for_gpu", lambda: True)
    monkeypatch.setattr(machine, "ask", ask)
    assert this_machine().gpus == ()
    assert "the driver ended it" in caplog.text
    with pytest.raises(UnknownDevice, match="'Vulkan7' cannot be looked up: the driver ended it"):
        this_machine("Vulkan7")


def test_the_installed_library_lists_the_cpu_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "localrouter.memory.devices"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert "cpu" in {each["kind"] for each in found}
    assert {each.name for each in devices.ask()} == {each["name"] for each in found}


def test_a_process_that_dies_is_reported_with_its_last_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho first >&2\necho 'Invalid Vulkan device index' >&2\nkill -ABRT $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(DevicesUnknown, match=r"signal 6\): Invalid Vulkan device index"):
        devices.ask()


def test_a_folder_without_ggml_is_no_library(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no ggml library"):
        devices.open_library(tmp_path)


def test_every_gpu_of_nvidia_has_a_line() -> None:
    said = "00000000:3B:00.0, 80995, 81559\n0000000A:af:00.1, 100, 200\n"
    assert parse_nvidia(said) == {
        "0000:3b:00.0": (80995 << 20, 81559 << 20),
        "000a:af:00.1": (100 << 20, 200 << 20),
    }


@pytest.mark.parametrize("said", ["", "No devices were found\n", "00000000:3B:00.0, [N/A], [N/A]\n"])
def test_output_without_numbers_is_not_reported(said: str) -> None:
    assert parse_nvidia(said) == {}


def test_drivers_report_memory_by_the_address_of_the_card(tmp_path: Path) -> None:
    amd = tmp_path / "0000:02:00.0"
    amd.mkdir()
    (amd / "mem_info_vram_used").write_text("300\n")
    (amd / "mem_info_vram_total").write_text("1000\n")
    nvidia = {"0000:01:00.0": (5, 6)}
    cards = [device("A", pci="0000:01:00.0"), device("B", pci="0000:02:00.0"), device("C", pci="0000:03:00.0")]
    found = with_driver_memory([*cards, device("D")], nvidia, tmp_path)
    assert [(each.driver_free, each.driver_total) for each in found] == [
        (5, 6),
        (700, 1000),
        (None, None),
        (None, None),
    ]

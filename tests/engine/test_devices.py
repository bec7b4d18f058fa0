"""Devices: what ggml says of GPUs, as memory of this machine."""

import ctypes
from typing import Any, cast

import pytest

from localrouter.engine import devices
from localrouter.memory.machine import Gpu

CPU, GPU, INTEGRATED = 0, 1, 2


class FakeGgml:
    """A ggml with devices of these types; of the n-th n bytes are free."""

    def __init__(self, *types: int) -> None:
        # Functions, because arguments and results of foreign ones are declared on them.
        self.ggml_backend_dev_count = lambda: len(types)
        self.ggml_backend_dev_get = lambda index: index
        self.ggml_backend_dev_type = lambda device: types[device]
        self.ggml_backend_dev_name = lambda device: b"GPU%d" % device
        self.ggml_backend_dev_description = lambda device: b"" if device == 0 else b"Card %d" % device
        self.ggml_backend_dev_memory = self._memory_function()

    @staticmethod
    def _memory_function() -> Any:
        def memory(device: int, free: Any, total: Any) -> None:
            free._obj.value, total._obj.value = device + 1, 100

        return memory


def found(*types: int) -> tuple[tuple[Gpu, ...], bool]:
    machine = devices.machine(cast(ctypes.CDLL, FakeGgml(*types)))
    assert 0 < machine.ram_free <= machine.ram_total
    return machine.gpus, machine.unified


@pytest.fixture(autouse=True)
def _no_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "gpu_shares_ram", lambda: False)


def test_a_build_for_the_cpu_has_no_gpus() -> None:
    assert found(CPU) == ((), False)


def test_gpus_have_the_name_of_the_card_or_their_own() -> None:
    assert found(GPU, GPU, CPU) == ((Gpu("GPU0", 1, 100), Gpu("Card 1", 2, 100)), False)


def test_a_gpu_in_the_processor_shares_the_ram_and_counts_only_where_it_is_alone() -> None:
    assert found(CPU, INTEGRATED) == ((Gpu("Card 1", 2, 100),), True)
    assert found(CPU, INTEGRATED, GPU) == ((Gpu("Card 2", 3, 100),), False)


def test_the_gpu_of_an_apple_chip_shares_the_ram(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "gpu_shares_ram", lambda: True)
    assert found(GPU)[1]
    assert not found(CPU)[1]

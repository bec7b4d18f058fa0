from pathlib import Path

import pytest

from localrouter.memory import machine
from localrouter.memory.machine import Gpu, Machine, parse_vm_stat, this_machine

MEMINFO = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    600 kB\n"


def memory(tmp_path: Path, limit: str | None, used: str = "0") -> tuple[int, int]:
    (tmp_path / "meminfo").write_text(MEMINFO)
    if limit is not None:
        (tmp_path / "memory.max").write_text(limit + "\n")
        (tmp_path / "memory.current").write_text(used + "\n")
    return machine._linux_memory(tmp_path / "meminfo", tmp_path)


@pytest.mark.parametrize("limit", [None, "max", str(1 << 40)])
def test_available_memory_counts_as_free(tmp_path: Path, limit: str | None) -> None:
    assert memory(tmp_path, limit) == (600 * 1024, 1000 * 1024)


def test_a_container_has_no_more_than_its_limit(tmp_path: Path) -> None:
    assert memory(tmp_path, "500000", "100000") == (400_000, 500_000)


def test_pages_of_files_are_not_taken_for_good(tmp_path: Path) -> None:
    (tmp_path / "memory.stat").write_text("anon 50000\ninactive_file 30000\nactive_file 20000\nslab 7\n")
    assert memory(tmp_path, "500000", "100000") == (450_000, 500_000)


def test_without_the_kernel_s_figures_half_is_a_guess(tmp_path: Path) -> None:
    free, total = machine._linux_memory(tmp_path / "none", tmp_path)
    assert 0 < free == total // 2


VM_STAT = """\
Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                                    100.
Pages active:                               123456.
Pages inactive:                                 20.
Pages speculative:                               3.
Pages wired down:                            77777.
"Translation faults":                    999999999.
"""


def test_of_a_mac_free_and_inactive_pages_can_be_had() -> None:
    assert parse_vm_stat(VM_STAT) == 123 * 16384
    assert parse_vm_stat("") is None


def test_a_missing_or_failing_program_has_empty_output() -> None:
    assert machine._output_of(["no-such-program-of-this-name"]) == ""
    assert machine._output_of(["false"]) == ""


def test_an_idle_machine_is_the_same_whatever_is_loaded() -> None:
    busy = Machine(10, 1000, (Gpu("g", 1, 100),))
    assert busy.idle == Machine(750, 1000, (Gpu("g", 100, 100),))
    assert busy.gpu_free == 1


def test_gpus_share_layers_by_their_free_memory() -> None:
    assert Machine(1, 1, (Gpu("a", 300, 400), Gpu("b", 100, 400))).shares == (300, 100)
    assert Machine(1, 1).shares == ()


def test_this_machine_has_memory() -> None:
    found = this_machine()
    assert 0 < found.ram_free <= found.ram_total

"""llama.cpp's programs: which there are, how they are called, what they say."""

import shutil
from pathlib import Path

import pytest

from localrouter.bench.run_progress import RunProgress
from localrouter.bench.servers.peer import (
    PROGRAMS,
    Peer,
    PeerMissing,
    build_peer,
    find_peer,
    json_lines,
    repack_works,
    thread_counts,
)
from localrouter.bench.servers.processes import ProgramFailed

SCRIPT = """#!/bin/sh
echo "loading $*" >&2
case " $* " in *" {flag} "*) echo '{{"{field}": 7.5}}'; echo '{{"{field}": 9.5}}';; *) exit 3;; esac
"""


def program(folder: Path, name: str, flag: str = "", field: str = "") -> None:
    (folder / name).write_text(SCRIPT.format(flag=flag, field=field))
    (folder / name).chmod(0o755)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    program(tmp_path, "llama-server")

    with pytest.raises(PeerMissing, match="llama-bench, llama-batched-bench is not there"):
        find_peer(tmp_path)


def test_nothing_is_downloaded_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")

    with pytest.raises(PeerMissing, match=r"the sources of llama\.cpp are missing"):
        build_peer(RunProgress(), offline=True)


def test_all_programs_make_a_peer(tmp_path: Path) -> None:
    for name in PROGRAMS:
        program(tmp_path, name)

    assert find_peer(tmp_path).program("llama-bench") == tmp_path / "llama-bench"


def test_the_best_number_of_threads_counts(tmp_path: Path) -> None:
    program(tmp_path, "llama-bench", "--repack 0", "avg_ts")

    assert Peer(tmp_path, repack=False).generation_rate(Path("model.gguf"), 8) == 9.5


def test_batches_are_asked_for_without_repacking(tmp_path: Path) -> None:
    program(tmp_path, "llama-batched-bench", "--no-repack", "speed_tg")

    assert Peer(tmp_path, repack=False).batched_rate(Path("model.gguf"), 32, 8) == 9.5


def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    program(tmp_path, "llama-bench", "--repack 0", "avg_ts")

    with pytest.raises(ProgramFailed, match=r"llama-bench ended with status 3:\nloading -m model\.gguf"):
        Peer(tmp_path, repack=True).generation_rate(Path("model.gguf"), 8)


def test_amx_kernels_are_tried_where_there_are_any(tmp_path: Path) -> None:
    program(tmp_path, "llama-bench", flag="only with another flag")

    assert repack_works(tmp_path, "flags: avx2 avx512f")
    assert not repack_works(tmp_path, "flags: avx512f amx_bf16 amx_tile amx_int8")

    program(tmp_path, "llama-bench", flag="-p 64")
    assert repack_works(tmp_path, "flags: avx512f amx_bf16 amx_tile amx_int8")


def test_only_objects_are_read_from_the_output() -> None:
    assert json_lines('warming up\n{"a": 1}\n\n{"a": 2}\ndone') == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(("cores", "counts"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6])])
def test_thread_counts_double_up_to_all_cores(cores: int, counts: list[int]) -> None:
    assert thread_counts(cores) == counts

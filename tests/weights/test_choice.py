from pathlib import Path

import pytest

from localrouter.weights.choice import choose, physical_memory
from localrouter.weights.manifest.lock import Lock
from localrouter.weights.manifest.manifest import Build
from localrouter.weights.manifest.pin import Pin, PinnedFile
from localrouter.weights.manifest.registry import Entry

GB = 10**9


def entry(name: str, size: int | None, *, path: str | None = None, lock: Lock | None = None) -> Entry:
    source = {"path": path} if path else {"repo": "o/n", "file": f"{name}.gguf"}
    return Entry("qwen", Build.model_validate({"name": name, "size": size} | source), Path("m.toml"), lock or Lock())


SIZES = [entry("22", 22 * GB), entry("5", 5 * GB), entry("9", 9 * GB), entry("1", 1 * GB)]


@pytest.mark.parametrize(
    ("memory", "chosen", "fits"), [(64, "22", True), (16, "9", True), (12, "5", True), (2, "1", True), (1, "1", False)]
)
def test_the_largest_within_seventy_percent_of_memory(memory: int, chosen: str, fits: bool) -> None:
    choice = choose(SIZES, memory * GB)
    assert (choice.entry.build.name, choice.fits, choice.considered) == (chosen, fits, 4)


def test_one_build_is_no_choice() -> None:
    choice = choose(SIZES[:1], 1)
    assert (choice.entry, choice.considered) == (SIZES[0], 1)


def test_an_unknown_size_counts_as_too_large() -> None:
    unknown = entry("unknown", None)
    assert choose([unknown, SIZES[3]], 64 * GB).entry is SIZES[3]
    assert not choose([unknown, unknown], 64 * GB).fits


def test_a_local_build_is_meant_only_where_none_can_be_downloaded() -> None:
    local = entry("local", GB, path="local.gguf")
    assert choose([local, SIZES[1]], 64 * GB).entry is SIZES[1]
    assert choose([local], 64 * GB).entry is local


def test_all_parts_of_a_split_build_count() -> None:
    files = tuple(PinnedFile(f"big-0000{n}-of-00002.gguf", 40 * GB, "0" * 64) for n in (1, 2))
    build = Build(name="big", repo="o/n", file=files[0].name)
    big = Entry("qwen", build, Path("m.toml"), Lock({"big": Pin("o/n", "a" * 40, files)}))
    assert choose([big, SIZES[0]], 64 * GB).entry is SIZES[0]
    assert choose([big, SIZES[0]], 128 * GB).entry is big


def test_this_machine_has_memory() -> None:
    assert 2**28 < physical_memory() < 2**50

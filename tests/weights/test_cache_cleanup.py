import os
import sys
import time
from pathlib import Path

import huggingface_hub.constants
import pytest
from hub_cache import FIRST, SECOND, HubCache
from huggingface_hub.utils._fixes import WeakFileLock

from localrouter.errors import OperatorError
from localrouter.weights.cache_cleanup import leftovers, removal, scan_cache
from localrouter.weights.disk_usage import unfinished_downloads, usage
from localrouter.weights.hub.cached_file import CachedFile
from localrouter.weights.manifest.lockfile import Lock
from localrouter.weights.manifest.manifest import Build
from localrouter.weights.manifest.pin import Pin, PinnedFile
from localrouter.weights.registry import RegistryEntry

REPO, FILE = "them/A", "A.gguf"
OTHER = "c" * 40


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubCache:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "hub").mkdir()
    return HubCache(tmp_path / "hub")


def entry(revision: str | None = FIRST, file: str = FILE, repo: str = REPO, name: str = "A") -> RegistryEntry:
    return RegistryEntry("a", Build(name=name, repo=repo, file=file, revision=revision), Path("/m.toml"))


def old(path: Path) -> Path:
    os.utime(path, (time.time() - 2 * 86_400,) * 2)
    return path


def partial(cache: HubCache, name: str, repo: str = REPO) -> Path:
    blobs = cache.root / f"models--{repo.replace('/', '--')}" / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    (blobs / name).write_bytes(b"12345")
    return blobs / name


def everything(cache: HubCache) -> set[str]:
    return {str(path.relative_to(cache.root)) for path in cache.root.rglob("*") if path.is_symlink() or path.is_file()}


def test_a_cache_that_is_a_link_to_itself_is_an_error_in_words(cache: HubCache) -> None:
    cache.root.rmdir()
    cache.root.symlink_to(cache.root)

    with pytest.raises(OperatorError, match="cache cannot be read"):
        scan_cache()


def test_a_removed_build_leaves_nothing(cache: HubCache) -> None:
    pointer = cache.add(REPO, FILE, b"12345", main=True)
    plan = removal([entry()], scan_cache())
    assert (plan.files, plan.freed) == ((pointer,), 5)
    plan.execute()
    assert [*cache.root.iterdir()] == []


def test_other_files_of_the_repository_stay(cache: HubCache) -> None:
    cache.add(REPO, FILE, b"12345", main=True)
    kept = cache.add(REPO, "other.gguf", b"123")
    removal([entry()], scan_cache()).execute()
    assert kept.read_bytes() == b"123"
    assert everything(cache) == {
        "models--them--A/refs/main",
        f"models--them--A/snapshots/{FIRST}/other.gguf",
        str(kept.resolve().relative_to(cache.root)),
    }


def test_a_blob_that_another_snapshot_has_too_stays(cache: HubCache) -> None:
    cache.add(REPO, FILE, b"12345")
    kept = cache.add(REPO, FILE, b"12345", revision=SECOND)
    plan = removal([entry()], scan_cache())
    assert plan.freed == 0
    plan.execute()
    assert kept.read_bytes() == b"12345"
    assert not (cache.root / "models--them--A" / "snapshots" / FIRST).exists()


def test_a_ref_to_a_snapshot_that_is_gone_goes_along(cache: HubCache) -> None:
    cache.add(REPO, FILE, b"12345", main=True)
    cache.add(REPO, FILE, b"other", revision=SECOND)
    removal([entry()], scan_cache()).execute()
    found = scan_cache()
    assert found is not None
    assert not found.warnings
    assert not (cache.root / "models--them--A" / "refs" / "main").exists()


def test_of_a_build_without_a_pin_every_copy_goes(cache: HubCache) -> None:
    cache.add(REPO, FILE, b"12345")
    cache.add(REPO, FILE, b"123", revision=SECOND)
    plan = removal([entry(None)], scan_cache())
    assert (len(plan.files), plan.freed) == (2, 8)


def test_every_part_of_a_split_build_goes(cache: HubCache) -> None:
    for number in (1, 2):
        cache.add(REPO, f"d/A-0000{number}-of-00002.gguf", bytes(number))
    plan = removal([entry(file="d/A-00001-of-00002.gguf")], scan_cache())
    assert (len(plan.files), plan.freed) == (2, 3)
    plan.execute()
    assert everything(cache) == set()


@pytest.mark.skipif(sys.platform == "win32", reason="links of POSIX")
def test_a_snapshot_without_links_loses_its_file(cache: HubCache) -> None:
    pointer = cache.root / "models--them--A" / "snapshots" / FIRST / FILE
    pointer.parent.mkdir(parents=True)
    pointer.write_bytes(b"12345")
    plan = removal([entry()], scan_cache())
    assert plan.freed == 5
    plan.execute()
    assert not pointer.exists()


def pinned_entry() -> RegistryEntry:
    pin = Pin(REPO, FIRST, (PinnedFile(FILE, 9, "e" * 64),))
    return RegistryEntry("a", Build(name="A", repo=REPO, file=FILE), Path("/m.toml"), Lock({"A": pin}))


def test_what_has_begun_to_arrive_goes_too(cache: HubCache) -> None:
    begun = partial(cache, "e" * 64 + ".localrouter-partial")
    plan = removal([pinned_entry()], scan_cache())
    assert plan.freed == 5
    plan.execute()
    assert not begun.exists()


def test_what_is_arriving_now_is_left_alone(cache: HubCache) -> None:
    begun = partial(cache, "e" * 64 + ".localrouter-partial")
    place = CachedFile(cache.root, REPO, FIRST, PinnedFile(FILE, 9, "e" * 64))
    place.prepare()
    with WeakFileLock(place.lock), pytest.raises(OperatorError, match="is being downloaded by another process"):
        removal([pinned_entry()], scan_cache()).execute()
    assert begun.exists()


def test_without_a_cache_there_is_nothing(cache: HubCache) -> None:
    cache.root.rmdir()
    assert scan_cache() is None
    assert (removal([entry()], None).files, leftovers([entry()], None)) == ((), [])


def test_a_revision_that_nobody_names_may_go(cache: HubCache) -> None:
    kept = cache.add(REPO, FILE, b"12345")
    cache.add(REPO, FILE, b"123", revision=SECOND, main=True)
    [found] = leftovers([entry()], scan_cache())
    assert (found.what, found.repo, found.name, found.size) == ("revision", REPO, SECOND, 3)
    found.delete()
    assert kept.read_bytes() == b"12345"
    assert leftovers([entry()], scan_cache()) == []


def test_sizes_of_several_revisions_add_up_to_what_is_freed(cache: HubCache) -> None:
    for revision in (FIRST, SECOND, OTHER):
        cache.add(REPO, "same.gguf", b"shared", revision=revision)
    assert [found.size for found in leftovers([entry(SECOND)], scan_cache())] == [0, 0]
    assert [found.size for found in leftovers([entry("d" * 40)], scan_cache())] == [0, 0, 6]


def test_all_of_several_revisions_can_be_deleted_one_after_the_other(cache: HubCache) -> None:
    for revision in (FIRST, SECOND, OTHER):
        cache.add(REPO, FILE, revision.encode(), revision=revision)
    for found in leftovers([entry("d" * 40)], scan_cache()):
        found.delete()
    assert everything(cache) == set()


def test_the_same_commit_of_another_repository_is_not_touched(cache: HubCache) -> None:
    cache.add(REPO, FILE, b"12345", revision=SECOND)
    cache.add("others/B", FILE, b"123", revision=SECOND)
    for found in leftovers([entry()], scan_cache()):
        found.delete()
    assert any("others--B" in path for path in everything(cache))
    assert not any("them--A" in path for path in everything(cache))


def test_a_build_without_a_pin_keeps_the_revision_it_was_found_in(cache: HubCache) -> None:
    cache.add(REPO, FILE, b"12345", main=True)
    cache.add(REPO, FILE, b"123", revision=SECOND)
    assert [found.name for found in leftovers([entry(None)], scan_cache())] == [SECOND]


def test_unfinished_downloads_of_more_than_a_day_may_go(cache: HubCache) -> None:
    ours, theirs = old(partial(cache, "a.localrouter-partial")), old(partial(cache, "b.incomplete"))
    fresh = partial(cache, "c.localrouter-partial")
    found = leftovers([entry()], scan_cache())
    assert [(each.what, each.name, each.size) for each in found] == [
        ("unfinished download", ours.name, 5),
        ("unfinished download", theirs.name, 5),
    ]
    for each in found:
        each.delete()
    assert [*unfinished_downloads(cache.root)] == [fresh]


def test_unfinished_downloads_of_other_programs_elsewhere_stay(cache: HubCache) -> None:
    old(partial(cache, "b.incomplete", repo="others/B"))
    assert leftovers([entry()], scan_cache()) == []


def test_a_blob_that_no_snapshot_uses_may_go_after_a_day(cache: HubCache) -> None:
    cache.add(REPO, FILE, b"12345")
    lost = partial(cache, "f" * 64)
    assert leftovers([entry()], scan_cache()) == []
    old(lost)
    assert [(each.what, each.size) for each in leftovers([entry()], scan_cache())] == [("unused file", 5)]


def test_a_file_that_two_builds_share_counts_once(cache: HubCache) -> None:
    cache.add(REPO, FILE, b"12345")
    cache.add(REPO, FILE, b"12345", revision=SECOND)
    partial(cache, "a.localrouter-partial")
    used = usage([entry(), entry(SECOND, name="B"), entry(OTHER, name="C")])
    assert ([each.size for each in used.holdings], used.unfinished, used.total) == ([5, 5], 5, 10)


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may delete everything")
def test_a_cache_that_cannot_be_changed_is_said_in_words(cache: HubCache) -> None:
    pointer = cache.add(REPO, FILE, b"12345")
    pointer.parent.chmod(0o500)
    try:
        with pytest.raises(OperatorError, match="cannot be deleted"):
            removal([entry()], scan_cache()).execute()
    finally:
        pointer.parent.chmod(0o700)

import os
import socket
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
from hub_cache import FIRST, SECOND, HubCache

from localrouter.weights import build_location
from localrouter.weights.build_location import Damaged, Found, Location, Missing, locate
from localrouter.weights.manifest.manifest import Build

REPO, FILE = "them/A-GGUF", "A-Q8_0.gguf"


@pytest.fixture
def cache(tmp_path: Path) -> HubCache:
    return HubCache(tmp_path / "hub")


def hub_build(revision: str | None = None, size: int | None = None) -> Build:
    return Build(name="A-Q8_0", repo=REPO, file=FILE, revision=revision, size=size)


def look(cache: HubCache, build: Build) -> Location:
    return locate(build, Path(), cache_dir=cache.root)


def test_the_hand_made_cache_is_one_for_the_library(cache: HubCache) -> None:
    pointer = cache.add(REPO, FILE, b"12345", main=True)
    report = huggingface_hub.scan_cache_dir(cache.root)
    assert not report.warnings
    [repo] = report.repos
    assert (repo.repo_id, repo.size_on_disk, set(repo.refs)) == (REPO, 5, {"main"})
    found = huggingface_hub.hf_hub_download(REPO, FILE, cache_dir=cache.root, local_files_only=True)
    assert found == str(pointer)


def test_an_asset_is_found_in_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_location, "ASSETS", tmp_path)
    (tmp_path / "demo.gguf").write_bytes(b"123")
    assert locate(Build(name="d", asset="demo.gguf"), Path()) == Found(str(tmp_path / "demo.gguf"), 3)


def test_a_relative_path_starts_at_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"123")
    assert locate(Build(name="a", path="a.gguf"), tmp_path) == Found(str(tmp_path / "a.gguf"), 3)


def test_a_tilde_is_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "a.gguf").write_bytes(b"123")
    assert locate(Build(name="a", path="~/a.gguf"), Path("/elsewhere")) == Found(str(tmp_path / "a.gguf"), 3)


@pytest.mark.parametrize("path", ["nothing.gguf", ".", "~nobody-of-this-name/a.gguf", "x\0y"])
def test_what_is_no_file_is_missing(tmp_path: Path, path: str) -> None:
    assert locate(Build(name="a", path=path), tmp_path) == Missing()


def test_a_file_of_another_size_is_damaged_and_says_both_sizes(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(bytes(1000))
    location = locate(Build(name="a", path="a.gguf", size=2500), tmp_path)
    assert location == Damaged(str(tmp_path / "a.gguf"), 1000, 2500)
    assert "1,000 bytes" in location.message
    assert "2,500" in location.message


def test_a_pinned_revision_is_found(cache: HubCache) -> None:
    cache.add(REPO, FILE, b"first", revision=FIRST)
    pointer = cache.add(REPO, FILE, b"second", revision=SECOND, main=True)
    assert look(cache, hub_build(SECOND)) == Found(str(pointer), 6)


def test_another_revision_than_the_pinned_one_will_not_do(cache: HubCache) -> None:
    cache.add(REPO, FILE, b"first", revision=FIRST, main=True)
    assert look(cache, hub_build(SECOND)) == Missing()


def test_without_a_revision_main_goes_first(cache: HubCache) -> None:
    cache.add(REPO, FILE, b"first", revision=FIRST)
    pointer = cache.add(REPO, FILE, b"second", revision=SECOND, main=True)
    assert look(cache, hub_build()) == Found(str(pointer), 6)


def test_without_a_revision_and_main_any_snapshot_will_do(cache: HubCache) -> None:
    pointer = cache.add(REPO, FILE, b"second", revision=SECOND)
    assert look(cache, hub_build()) == Found(str(pointer), 6)


def test_of_several_snapshots_the_one_with_the_right_size_is_taken(cache: HubCache) -> None:
    pointer = cache.add(REPO, FILE, b"first", revision=FIRST)
    cache.add(REPO, FILE, b"second", revision=SECOND, main=True)
    assert look(cache, hub_build(size=5)) == Found(str(pointer), 5)


def test_when_no_snapshot_has_the_right_size_the_first_is_reported(cache: HubCache) -> None:
    cache.add(REPO, FILE, b"first", revision=FIRST)
    pointer = cache.add(REPO, FILE, b"second", revision=SECOND, main=True)
    assert look(cache, hub_build(size=7)) == Damaged(str(pointer), 6, 7)


def test_another_file_of_the_repository_is_not_it(cache: HubCache) -> None:
    cache.add(REPO, "B.gguf", b"x", main=True)
    assert look(cache, hub_build()) == Missing()


def test_an_empty_cache_has_nothing(cache: HubCache) -> None:
    assert look(cache, hub_build(FIRST)) == look(cache, hub_build()) == Missing()


def test_a_link_whose_blob_was_deleted_is_missing(cache: HubCache) -> None:
    cache.add(REPO, FILE, b"x").resolve().unlink()
    assert look(cache, hub_build(FIRST)) == look(cache, hub_build()) == Missing()


def test_a_file_known_not_to_exist_is_missing(cache: HubCache) -> None:
    cache.add(REPO, "other", b"x", main=True)
    marker = cache.root / "models--them--A-GGUF" / ".no_exist" / FIRST / FILE
    marker.parent.mkdir(parents=True)
    marker.touch()
    assert look(cache, hub_build(FIRST)) == Missing()


def test_a_cache_that_cannot_be_listed_has_nothing(cache: HubCache) -> None:
    folder = cache.root / "models--them--A-GGUF"
    folder.mkdir(parents=True)
    (folder / "snapshots").touch()
    assert look(cache, hub_build(FIRST)) == look(cache, hub_build()) == Missing()


def test_no_connection_is_opened(cache: HubCache, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    assert look(cache, hub_build()) == Missing()


@pytest.mark.parametrize(("variable", "folder"), [("HF_HOME", "hub"), ("HF_HUB_CACHE", ".")])
def test_the_environment_says_where_the_cache_is(tmp_path: Path, variable: str, folder: str) -> None:
    pointer = HubCache(tmp_path / folder).add(REPO, FILE, b"12345")
    program = (
        "from pathlib import Path; from localrouter.weights.manifest.manifest import Build;"
        "from localrouter.weights.build_location import locate;"
        f"print(locate(Build(name='a', repo={REPO!r}, file={FILE!r}), Path()).path)"
    )
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGINGFACE_"))}
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=kept | {variable: str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(result.stdout.strip()) == pointer


def test_the_hub_library_is_not_loaded_before_it_is_needed() -> None:
    program = "import sys, localrouter.weights.catalog; sys.exit('huggingface_hub' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def split(folder: Path, count: int = 3) -> list[Path]:
    files = [folder / f"Big-{number:05}-of-00003.gguf" for number in range(1, count + 1)]
    for file in files:
        file.write_bytes(b"12345")
    return files


@pytest.mark.parametrize("named", [1, 3])
def test_a_split_gguf_is_one_build_that_begins_with_its_first_part(tmp_path: Path, named: int) -> None:
    files = split(tmp_path)
    build = Build(name="big", path=files[named - 1].name, size=15)
    assert locate(build, tmp_path) == Found(str(files[0]), 15)


def test_a_split_gguf_is_missing_until_all_parts_are_there(tmp_path: Path) -> None:
    files = split(tmp_path, 2)
    assert isinstance(locate(Build(name="big", path=files[0].name), tmp_path), Missing)


def test_the_size_of_a_split_gguf_is_that_of_all_parts(tmp_path: Path) -> None:
    files = split(tmp_path)
    assert locate(Build(name="big", path=files[0].name, size=14), tmp_path) == Damaged(str(files[0]), 15, 14)


def test_the_parts_of_a_split_gguf_are_found_in_the_cache(cache: HubCache) -> None:
    build = Build(name="big", repo=REPO, file="Q8/Big-00002-of-00002.gguf")
    first = cache.add(REPO, "Q8/Big-00001-of-00002.gguf", b"123")
    assert isinstance(look(cache, build), Missing)
    cache.add(REPO, "Q8/Big-00002-of-00002.gguf", b"4567")
    assert look(cache, build) == Found(str(first), 7)


PARTS = tuple(f"S-0000{number}-of-00003.gguf" for number in (1, 2, 3))


@pytest.mark.parametrize("absent", PARTS)
def test_a_split_file_without_a_part_is_missing_and_the_part_is_named(tmp_path: Path, absent: str) -> None:
    for part in PARTS:
        (tmp_path / part).write_bytes(b"1")
    (tmp_path / absent).unlink()
    found = locate(Build(name="s", path=PARTS[0]), tmp_path)
    assert found == Missing(str(tmp_path / PARTS[0]), (absent,))


@pytest.mark.parametrize("absent", PARTS)
def test_a_part_that_the_cache_lacks_is_named(cache: HubCache, absent: str) -> None:
    for part in PARTS:
        if part != absent:
            pointer = cache.add(REPO, f"Q8/{part}", part.encode())
    found = look(cache, Build(name="s", repo=REPO, file=f"Q8/{PARTS[1]}", revision=FIRST))
    assert found == Missing(str(pointer.with_name(PARTS[0])), (absent,))


def test_of_several_copies_that_are_not_whole_the_most_complete_one_counts(cache: HubCache) -> None:
    cache.add(REPO, PARTS[0], b"1", revision=FIRST)
    for part in PARTS[:2]:
        cache.add(REPO, part, part.encode(), revision=SECOND)
    found = look(cache, Build(name="s", repo=REPO, file=PARTS[0]))
    assert isinstance(found, Missing)
    assert (found.absent, SECOND in found.first) == ((PARTS[2],), True)

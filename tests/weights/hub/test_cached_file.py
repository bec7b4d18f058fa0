"""What a transfer leaves in the cache, and caches that take nothing, or not all."""

import errno
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import HubServer
from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from transfer_bench import CONTENT, NAME, REPO, Bench

from localrouter.errors import TransferError
from localrouter.weights.hub.cached_file import CachedFile
from localrouter.weights.hub.transfer import TransferOutcome
from localrouter.weights.manifest.pin import PinnedFile


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with HubServer() as server:
        yield Bench(server, tmp_path / "cache")


def tree(root: Path) -> dict[str, tuple[int, str]]:
    """Everything below a directory: mode, and target or content."""
    return {
        str(path.relative_to(root)): (
            path.lstat().st_mode,
            os.readlink(path) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_leaves_exactly_what_the_library_leaves(bench: Bench, tmp_path: Path) -> None:
    assert bench.transfer().run() is TransferOutcome.DOWNLOADED
    theirs = tmp_path / "theirs"
    hf_hub_download(REPO, NAME, revision=bench.commit, cache_dir=theirs, endpoint=bench.server.endpoint)
    assert tree(bench.place.cache) == tree(theirs)


def test_the_library_finds_it(bench: Bench) -> None:
    bench.transfer().run()
    cache, path = bench.place.cache, str(bench.place.pointer)
    assert try_to_load_from_cache(REPO, NAME, cache_dir=cache, revision=bench.commit) == path
    assert hf_hub_download(REPO, NAME, revision=bench.commit, cache_dir=cache, local_files_only=True) == path


def test_what_the_library_brought_is_not_brought_again(bench: Bench) -> None:
    hf_hub_download(REPO, NAME, revision=bench.commit, cache_dir=bench.place.cache, endpoint=bench.server.endpoint)
    assert bench.transfer().run() is TransferOutcome.PRESENT
    assert bench.server.served() == len(CONTENT)


def test_without_links_the_file_itself_is_in_the_snapshot(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", True)
    bench.transfer().run()
    assert bench.is_whole()
    assert not bench.place.pointer.is_symlink()
    assert not bench.place.blob.exists()
    cache = bench.place.cache
    assert try_to_load_from_cache(REPO, NAME, cache_dir=cache, revision=bench.commit) == str(bench.place.pointer)
    assert bench.transfer().run() is TransferOutcome.PRESENT


def test_a_file_system_that_refuses_links_gets_the_file_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")  # as vfat and exfat do

    monkeypatch.setattr(os, "symlink", refuse)
    with pytest.warns(UserWarning, match="does not support them in"):
        bench.transfer().run()
    assert bench.is_whole()
    assert not bench.place.pointer.is_symlink()
    assert bench.transfer().run() is TransferOutcome.PRESENT


def mount(directory: Path, options: str) -> None:
    """Mount a small file system, or skip the test and say why."""
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("a file system cannot be mounted here; that takes root")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount(directory := tmp_path / "small", "size=200k")
    yield directory
    subprocess.run(["umount", directory], check=True)


def test_a_disk_that_fills_up_keeps_what_has_arrived(bench: Bench, small_disk: Path) -> None:
    place = bench.place_in(small_disk)
    with pytest.raises(TransferError, match="cannot be written: No space left on device") as caught:
        bench.transfer(place=place).run()
    assert "HF_HOME" in str(caught.value.hint)
    arrived = place.arrived()
    assert 100_000 < arrived < len(CONTENT)
    subprocess.run(["mount", "-o", "remount,size=1m", small_disk], check=True)
    bench.transfer(place=place).run()
    assert place.pointer.read_bytes() == CONTENT
    assert bench.server.requests[-1].headers["Range"] == f"bytes={arrived}-"


def test_a_read_only_cache_is_named(bench: Bench, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(TransferError, match=f"{small_disk} cannot be written: Read-only file system"):
        bench.transfer(place=bench.place_in(small_disk)).run()


def test_what_is_in_a_read_only_cache_can_be_used(bench: Bench, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=1m", small_disk], check=True)
    place = bench.place_in(small_disk)
    bench.transfer(place=place).run()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert bench.transfer(place=place).run() is TransferOutcome.PRESENT


@pytest.mark.parametrize("name", ["../a.gguf", "/a.gguf", "a/../../b.gguf", "a\\..\\b.gguf"])
def test_a_name_that_leaves_the_snapshot_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TransferError, match="not a plain path"):
        CachedFile(tmp_path, REPO, "a" * 40, PinnedFile(name, 1, "0" * 64))

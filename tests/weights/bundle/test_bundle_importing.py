"""A bundle is brought in whole, checked, and over what is here already."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
import pytest
from bundle_maker import (
    BIG,
    FILE,
    GOOD,
    OWN,
    REPO,
    Sender,
    bring,
    check,
    destination,
    index_of,
    info,
    receiver,
    sender,
    sha,
    write_tar,
)
from hub_cache import FIRST
from huggingface_hub import constants
from huggingface_hub.utils._fixes import WeakFileLock

from localrouter.weights.bundle import importer, names
from localrouter.weights.bundle.contents import choose
from localrouter.weights.bundle.exporter import write_bundle
from localrouter.weights.bundle.importer import ImportOutcome
from localrouter.weights.bundle.index import BundleError, BundleRejected, PieceKind, parse_index
from localrouter.weights.bundle.names import name_builds
from localrouter.weights.bundle.reader import Bundle
from localrouter.weights.registry import Registry

__all__ = ["receiver", "sender"]


def test_the_hub_library_finds_what_was_brought(sender: Sender, receiver: Path) -> None:
    bring(sender.bundle(), destination(receiver))
    for revision in (FIRST, "main"):
        found = huggingface_hub.hf_hub_download(
            REPO, FILE, revision=revision, cache_dir=receiver / "hub", local_files_only=True
        )
        assert Path(found).read_bytes() == BIG
    assert not huggingface_hub.scan_cache_dir(receiver / "hub").warnings


def test_an_own_file_goes_to_the_own_models_and_gets_its_name(
    sender: Sender, receiver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = bring(sender.bundle(), destination(receiver))
    assert (receiver / "models/Own-Q8_0.gguf").read_bytes() == OWN
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(receiver / "hub"))
    assert name_builds(done.targets) == ["Big-Q8_0", "Own-Q8_0"]
    assert name_builds(done.targets) == []
    [own] = Registry.read().find("own:tuned")
    assert own.build.path == str(receiver / "models/Own-Q8_0.gguf")
    [big] = choose(Registry.read(), ["big"])
    assert big.digests == (sha(BIG),)


def test_what_another_import_names_meanwhile_is_not_named_again(
    sender: Sender, receiver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = bring(sender.bundle(), destination(receiver)).targets

    @contextmanager
    def overtaken(lock: Path) -> Iterator[None]:
        monkeypatch.setattr(names, "WeakFileLock", WeakFileLock)
        assert name_builds(targets) == ["Big-Q8_0", "Own-Q8_0"]  # the other one, which had the lock before
        yield

    monkeypatch.setattr(names, "WeakFileLock", overtaken)
    assert name_builds(targets) == []


def test_names_are_added_to_what_the_user_has(sender: Sender, receiver: Path, tmp_path: Path) -> None:
    own = tmp_path / "config/localrouter/model_manifest.toml"
    own.parent.mkdir(parents=True)
    own.write_text('version = 1\n[[models.own.builds]]\nname = "Mine"\nvariant = "tuned"\npath = "/mine.gguf"\n')
    name_builds(bring(sender.bundle("own"), destination(receiver)).targets)
    assert [entry.build.name for entry in Registry.read().find("own")] == ["Mine", "Own-Q8_0"]


def split_model(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """A manifest of a model in two parts, and the digests of those."""
    for number in (1, 2):
        (folder / f"Split-0000{number}-of-00002.gguf").write_bytes(b"part %d" % number)
    manifest = folder / "split.toml"
    manifest.write_text('version = 1\n[[models.split.builds]]\nname = "Split"\npath = "Split-00001-of-00002.gguf"\n')
    return manifest, (sha(b"part 1"), sha(b"part 2"))


def test_the_digests_of_all_parts_of_an_own_file_come_along(sender: Sender, receiver: Path) -> None:
    sender.manifest, digests = split_model(sender.folder)
    name_builds(bring(sender.bundle("split"), destination(receiver)).targets)
    [entry] = Registry.read().find("split")
    assert (entry.build.part_sha256, entry.build.size) == (digests, 12)


_IMPORT = """
import json, sys
from pathlib import Path
from bundle_maker import destination
from localrouter.weights.bundle.importer import import_bundle
from localrouter.weights.bundle.names import name_builds
from localrouter.weights.bundle.reader import Bundle
with Bundle(Path(sys.argv[1])) as bundle:
    done = import_bundle(bundle, destination(Path(sys.argv[2])), lambda _: print(flush=True))
print("imported", flush=True)
named = name_builds(done.targets)
print(json.dumps({"written": done.written, "builds": sorted(done.outcomes), "named": named}))
"""


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    assert line + "\n" in process.stdout


def test_two_processes_import_the_same_bundle_at_the_same_time(sender: Sender, receiver: Path, tmp_path: Path) -> None:
    bundle, models, config = sender.bundle(), receiver / "models", tmp_path / "config/localrouter"
    for folder in (models, config):
        (folder / ".locks").mkdir(parents=True)
    command = [sys.executable, "-c", _IMPORT, str(bundle), str(receiver)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with WeakFileLock(config / ".locks" / "model_manifest.toml.lock"):  # neither names before both have imported
        with WeakFileLock(models / ".locks" / "Own-Q8_0.gguf.lock"):  # nor is through with that before both have begun
            both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
            for each in both:
                wait_for(each, "")
        for each in both:
            wait_for(each, "imported")
    results = [json.loads(each.communicate()[0].splitlines()[-1]) for each in both]
    assert sum(result["written"] for result in results) == len(BIG) + len(OWN)
    assert sorted(result["named"] for result in results) == [[], ["Big-Q8_0", "Own-Q8_0"]]
    assert all(result["builds"] == ["Big-Q8_0", "Own-Q8_0"] for result in results)
    assert (models / "Own-Q8_0.gguf").read_bytes() == OWN
    assert sorted(path.name for path in models.iterdir()) == [".locks", "Own-Q8_0.gguf"]
    assert not list(receiver.rglob("*.unfinished"))
    assert [path.read_bytes() for path in (receiver / "hub").rglob("*.gguf")] == [BIG]


def test_a_second_import_writes_nothing(sender: Sender, receiver: Path) -> None:
    path = sender.bundle()
    first, second = bring(path, destination(receiver)), bring(path, destination(receiver))
    assert (first.written, second.written) == (len(BIG) + len(OWN), 0)
    assert set(second.outcomes.values()) == {ImportOutcome.PRESENT}


def test_an_interrupted_import_goes_on_where_it_stopped(
    sender: Sender, receiver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(BaseException):
        pass

    path, read = sender.bundle("big"), []

    def stop(count: int) -> None:
        read.append(count)
        if sum(read) > len(BIG) // 2:
            raise Interrupted

    with Bundle(path) as bundle, pytest.raises(Interrupted):
        importer.import_bundle(bundle, destination(receiver), stop)
    [partial] = (receiver / "hub").rglob("*.localrouter-partial")
    arrived = partial.stat().st_size
    assert not list((receiver / "hub").rglob("*.gguf"))
    assert arrived > len(BIG) // 3
    assert bring(path, destination(receiver)).written == len(BIG) - arrived
    assert next((receiver / "hub").rglob("*.gguf")).read_bytes() == BIG
    assert not partial.exists()


def test_a_partial_file_of_something_else_is_replaced(sender: Sender, receiver: Path) -> None:
    blob = receiver / "hub/models--them--Big-GGUF/blobs" / sha(BIG)
    blob.parent.mkdir(parents=True)
    blob.with_name(blob.name + ".localrouter-partial").write_bytes(b"?" * 5000)
    bring(sender.bundle("big"), destination(receiver))
    assert blob.read_bytes() == BIG


def test_a_damaged_blob_is_replaced(sender: Sender, receiver: Path) -> None:
    path = sender.bundle("big")
    bring(path, destination(receiver))
    blob = receiver / "hub/models--them--Big-GGUF/blobs" / sha(BIG)
    blob.write_bytes(bytes(len(BIG)))
    assert bring(path, destination(receiver)).outcomes == {"Big-Q8_0": ImportOutcome.WRITTEN}
    assert blob.read_bytes() == BIG


def test_an_own_file_of_that_name_is_left_alone(sender: Sender, receiver: Path) -> None:
    (receiver / "models").mkdir(parents=True)
    (receiver / "models/Own-Q8_0.gguf").write_bytes(b"mine")
    with pytest.raises(BundleError, match="another file has this name"):
        bring(sender.bundle("own"), destination(receiver))
    assert (receiver / "models/Own-Q8_0.gguf").read_bytes() == b"mine"


def test_a_lying_checksum_leaves_nothing(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "lie.tar", index_of((GOOD, b"x" * 5000)), [info(GOOD, b"y" * 5000)])
    with pytest.raises(BundleRejected, match="damaged"):
        bring(path, destination(tmp_path / "receiver"))
    assert not [each for each in (tmp_path / "receiver").rglob("*") if each.is_file() and each.stat().st_size]


def test_a_main_that_is_there_stays(sender: Sender, receiver: Path) -> None:
    main = receiver / "hub/models--them--Big-GGUF/refs/main"
    main.parent.mkdir(parents=True)
    main.write_text("c" * 40)
    bring(sender.bundle("big"), destination(receiver))
    assert main.read_text() == "c" * 40


def test_the_papers_are_kept(sender: Sender, receiver: Path) -> None:
    done = bring(sender.bundle(), destination(receiver))
    assert (done.papers / "manifest/model_manifest.toml").read_bytes() == sender.manifest.read_bytes()
    assert (done.papers / "licences/Own-Q8_0/LICENSE").read_text() == "Do as you like.\n"
    assert parse_index((done.papers / "bundle.json").read_bytes()).of(PieceKind.LICENCE)


def test_no_room_here_is_noticed_first(sender: Sender, receiver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sender.bundle()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(BundleError, match="1 are free"):
        bring(path, destination(receiver))
    assert not receiver.exists()


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_disk_that_fills_up_is_survived(sender: Sender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", small], check=False).returncode:
        pytest.skip("this root may not mount")
    try:
        path = sender.bundle("big")
        monkeypatch.setattr(importer, "_require_room", lambda *_: None)
        with pytest.raises(BundleError, match="No space left") as caught:
            bring(path, destination(small))
        assert "run the same command again to resume" in str(caught.value.hint)
        subprocess.run(["mount", "-o", "remount,size=20m", small], check=True)
        assert 0 < bring(path, destination(small)).written < len(BIG) - (4 << 20)
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_delta_leaves_out_what_the_lock_has(sender: Sender, receiver: Path) -> None:
    bring(sender.bundle("big"), destination(receiver))
    delta = sender.contents("big", "own").leaving_out({sha(BIG), "0" * 64})
    index = write_bundle(sender.folder / "delta.tar", delta)
    assert [file.name for file in index.presupposed] == [FILE]
    assert (sender.folder / "delta.tar").stat().st_size < len(BIG)
    assert bring(sender.folder / "delta.tar", destination(receiver)).outcomes == {
        "Big-Q8_0": ImportOutcome.PRESENT,
        "Own-Q8_0": ImportOutcome.WRITTEN,
    }


def test_a_delta_without_its_base_says_what_is_missing(sender: Sender, receiver: Path) -> None:
    write_bundle(sender.folder / "delta.tar", sender.contents("big").leaving_out({sha(BIG)}))
    check(sender.folder / "delta.tar")
    with pytest.raises(BundleError, match=r"needs Big-Q8_0\.gguf"):
        bring(sender.folder / "delta.tar", destination(receiver))

"""A bundle is the same bytes every time, and is there whole or not at all."""

import os
import shutil
import tarfile
from pathlib import Path

import pytest
from bundle_maker import BIG, FILE, OWN, REPO, Sender, bring, destination, receiver, sender, sha
from hub_cache import FIRST

from localrouter.memory.machine import Machine
from localrouter.weights.bundle.contents import choose
from localrouter.weights.bundle.exporter import REQUIREMENTS, write_bundle
from localrouter.weights.bundle.index import BundleError, WheelTarget
from localrouter.weights.registry import Registry

__all__ = ["receiver", "sender"]


def test_the_same_things_make_the_same_bytes(sender: Sender) -> None:
    first = sender.bundle(out="first.tar").read_bytes()
    os.utime(sender.folder / "Own-Q8_0.gguf", (1, 1))
    assert sender.bundle(out="second.tar").read_bytes() == first


def test_the_index_stands_first_and_the_rest_in_the_order_of_kinds(sender: Sender) -> None:
    with tarfile.open(sender.bundle()) as tar:
        names = tar.getnames()
        assert {(each.uid, each.gid, each.mtime, each.uname) for each in tar} == {(0, 0, 0, "")}
    assert names == [
        "bundle.json",
        "manifest/model_manifest.toml",
        "licences/Big-Q8_0/FACTS.txt",
        "licences/Own-Q8_0/FACTS.txt",
        "licences/Own-Q8_0/LICENSE",
        *sorted(f"weights/{sha(data)}/{name}" for data, name in [(BIG, FILE), (OWN, "Own-Q8_0.gguf")]),
    ]


def test_the_facts_name_licence_and_source(sender: Sender) -> None:
    with tarfile.open(sender.bundle("big")) as tar:
        file = tar.extractfile("licences/Big-Q8_0/FACTS.txt")
        assert file is not None
        text = file.read().decode()
    assert "licence: apache-2.0\n" in text
    assert f"https://huggingface.co/{REPO}/tree/{FIRST}\n" in text


def test_a_model_that_is_not_here_is_refused_with_the_command_that_brings_it(sender: Sender) -> None:
    shutil.rmtree(sender.cache.root)
    with pytest.raises(BundleError) as caught:
        choose(Registry.read(sender.manifest), ["big"])
    assert "localrouter pull" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("gigabytes", "name", "reason"), [(16, "Large", "the largest of 2"), (1e-9, "Small", "the smallest of 2")]
)
def test_for_an_alias_the_build_goes_in_that_answers_to_it(
    sender: Sender, gigabytes: float, name: str, reason: str
) -> None:
    builds = [f'[[models.two.builds]]\nname = "{each}"\npath = "{each}.gguf"\n' for each in ("Small", "Large")]
    sender.manifest.write_text("version = 1\n" + "".join(builds))
    for each, size in (("Small", 10), ("Large", 1000)):
        (sender.folder / f"{each}.gguf").write_bytes(bytes(size))
    ram = int(gigabytes * 10**9)
    [chosen] = choose(Registry.read(sender.manifest), ["two"], machine=lambda: Machine(ram, ram))
    assert (chosen.entry.build.name, chosen.reason.startswith(reason)) == (name, True)
    [named] = choose(Registry.read(sender.manifest), ["Small"], machine=lambda: Machine(ram, ram))
    assert (named.entry.build.name, named.reason) == ("Small", "")


def test_a_build_that_lacks_a_part_is_refused(sender: Sender) -> None:
    sender.manifest.write_text('version = 1\n[[models.s.builds]]\nname = "S"\npath = "S-00001-of-00002.gguf"\n')
    (sender.folder / "S-00001-of-00002.gguf").write_bytes(b"1")
    with pytest.raises(BundleError, match="S cannot be used without S-00002-of-00002"):
        choose(Registry.read(sender.manifest), ["s"])


def test_digests_that_the_manifest_knows_are_not_computed_again(sender: Sender) -> None:
    for number in (1, 2):
        (sender.folder / f"S-0000{number}-of-00002.gguf").write_bytes(b"%d" % number)
    digests = "".join(f'"{sha(data)}", ' for data in (b"1", b"2"))
    sender.manifest.write_text(
        f'version = 1\n[[models.s.builds]]\nname = "S"\npath = "S-00001-of-00002.gguf"\npart_sha256 = [{digests}]\n'
    )
    [chosen] = choose(Registry.read(sender.manifest), ["s"])
    assert (chosen.unhashed, chosen.digests) == (0, (sha(b"1"), sha(b"2")))


def test_a_weight_that_is_not_the_pinned_one_makes_no_bundle(sender: Sender) -> None:
    blob = next((sender.cache.root / "models--them--Big-GGUF/blobs").iterdir())
    blob.write_bytes(bytes(len(BIG)))
    with pytest.raises(BundleError, match="wrong sha256"):
        sender.bundle()
    assert not list(sender.folder.glob("*out.tar*"))


def test_a_bundle_that_could_not_be_written_leaves_the_old_one(sender: Sender) -> None:
    before = sender.bundle().read_bytes()
    contents = sender.contents()
    (sender.folder / "Own-Q8_0.gguf").write_bytes(b"other")
    with pytest.raises(BundleError):
        write_bundle(sender.folder / "out.tar", contents)
    assert (sender.folder / "out.tar").read_bytes() == before
    assert not list(sender.folder.glob(".out.tar*"))


def test_no_room_is_noticed_before_anything_is_written(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = sender.contents()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(BundleError, match="1 are free"):
        write_bundle(sender.folder / "out.tar", contents)


def test_the_demo_model_can_be_bundled(sender: Sender) -> None:
    registry = Registry.read()
    [chosen] = choose(registry, ["demo"])
    assert chosen.entry.build.source == "asset"


def test_wheels_come_with_the_list_from_which_pip_compares_them(sender: Sender, receiver: Path) -> None:
    wheel = sender.folder / "some_thing-1.2-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    target = WheelTarget(python="cp311", platform="linux-x86_64", libc="")
    write_bundle(sender.folder / "out.tar", sender.contents("own").with_wheels([wheel], target))
    done = bring(sender.folder / "out.tar", destination(receiver, wheels=receiver / "wheels"))
    assert {path.name for path in done.wheels} == {wheel.name, Path(REQUIREMENTS).name}
    listed = (receiver / REQUIREMENTS).read_text()
    assert listed == f"some-thing==1.2 --hash=sha256:{sha(b'wheel')}\n"

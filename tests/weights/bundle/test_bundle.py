"""A bundle is the same bytes every time, is believed in nothing before it is checked, and is brought in whole."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import huggingface_hub
import pytest
from bundle_maker import (
    BIG,
    FILE,
    OWN,
    REPO,
    Sender,
    bring,
    check,
    destination,
    index_of,
    info,
    make_sender,
    sha,
    write_tar,
)
from hub_cache import FIRST
from huggingface_hub import constants
from hypothesis import given, settings
from hypothesis import strategies as st

from localrouter.weights.bundle import importer
from localrouter.weights.bundle.contents import choose
from localrouter.weights.bundle.importer import Outcome
from localrouter.weights.bundle.index import BundleError, BundleRefused, Kind, WheelTarget, parse_index
from localrouter.weights.bundle.names import name_builds
from localrouter.weights.bundle.reader import Bundle
from localrouter.weights.bundle.signature import NAMESPACE
from localrouter.weights.bundle.writer import REQUIREMENTS, write_bundle
from localrouter.weights.manifest.registry import Registry

needs_ssh_keygen = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed")


@pytest.fixture
def sender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sender:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "sender/hub"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "sender").mkdir()
    return make_sender(tmp_path / "sender")


@pytest.fixture
def receiver(tmp_path: Path) -> Path:
    return tmp_path / "receiver"


# Writing


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


def test_a_weight_that_is_not_the_pinned_one_makes_no_bundle(sender: Sender) -> None:
    blob = next((sender.cache.root / "models--them--Big-GGUF/blobs").iterdir())
    blob.write_bytes(bytes(len(BIG)))
    with pytest.raises(BundleError, match="not what it should be"):
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


# Reading


def test_a_whole_bundle_passes(sender: Sender) -> None:
    read: list[int] = []
    with Bundle(sender.bundle()) as bundle:
        bundle.check(read.append)
        assert sum(read) == sum(member.size for member in bundle.index.members)


def test_a_flipped_byte_is_found_and_named(sender: Sender) -> None:
    path = sender.bundle("own")
    data = bytearray(path.read_bytes())
    data[data.index(b"ownownown") + 5000] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleRefused, match=r"Own-Q8_0\.gguf is damaged"):
        check(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_a_cut_bundle_is_refused(sender: Sender, share: float) -> None:
    path = sender.bundle()
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * share))
    with pytest.raises(BundleRefused):
        check(path)


def test_a_bundle_cut_after_a_member_is_refused(sender: Sender) -> None:
    path = sender.bundle("own")
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1]
    with path.open("r+b") as file:
        file.truncate(last.offset)
    with pytest.raises(BundleRefused, match="ends before"):
        check(path)


GOOD = "weights/a.gguf"


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ([info("../evil", b"x")], "not in the index"),
        ([info("/etc/evil", b"x")], "not in the index"),
        ([info(GOOD, kind=tarfile.SYMTYPE, link="/etc/passwd")], "no plain file"),
        ([info(GOOD, kind=tarfile.LNKTYPE, link="bundle.json")], "no plain file"),
        ([info(GOOD, kind=tarfile.CHRTYPE)], "no plain file"),
        ([info(GOOD, kind=tarfile.FIFOTYPE)], "no plain file"),
        ([info(GOOD, kind=tarfile.DIRTYPE)], "no plain file"),
        ([info(GOOD, b"xx")], "2 bytes where the index says 1"),
        ([info(GOOD, b"y")], "damaged"),
        ([], "ends before"),
        ([info(GOOD, b"x"), info(GOOD, b"x")], "twice"),
        ([info(GOOD, b"x"), info("more", b"x")], "not in the index"),
        ([info("bundle.json.sig", bytes(100_000)), info(GOOD, b"x")], "at most"),
    ],
)
def test_what_the_index_does_not_announce_is_refused(
    tmp_path: Path, made: list[tuple[tarfile.TarInfo, bytes]], words: str
) -> None:
    path = write_tar(tmp_path / "bad.tar", index_of((GOOD, b"x")), made)
    with pytest.raises(BundleRefused, match=words):
        check(path)
    with pytest.raises(BundleRefused):
        bring(path, destination(tmp_path / "receiver"))
    assert not [each for each in (tmp_path / "receiver").rglob("*") if each.is_file() and each.suffix == ".gguf"][1:]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"0.gguf"', b'"../0.gguf"'),
        (b'"0.gguf"', b'"/etc/0.gguf"'),
        (b'"0.gguf"', b'"a/0.gguf"'),
        (b'"0.gguf"', b'"a\\u0000b"'),
        (b'"weights/a.gguf"', b'"../a.gguf"'),
        (b'"weights/a.gguf"', b'"/a.gguf"'),
        (b'"weights/a.gguf"', b'"bundle.json"'),
        (b'"size": 1', b'"size": -1'),
        (b'"format": 1', b'"format": 2'),
        (b'"source": "path"', b'"source": "hub"'),
        (b'"weight"', b'"spell"'),
        (b"{", b"["),
    ],
)
def test_an_index_that_leads_elsewhere_is_refused(old: bytes, new: bytes) -> None:
    index = index_of((GOOD, b"x"))
    assert old in index
    with pytest.raises(BundleRefused):
        parse_index(index.replace(old, new))


def test_an_index_with_a_member_twice_is_refused() -> None:
    with pytest.raises(BundleRefused, match="twice"):
        parse_index(index_of((GOOD, b"x"), ("weights/b.gguf", b"y")).replace(b"weights/b.gguf", GOOD.encode()))


def test_something_behind_the_end_is_refused(sender: Sender) -> None:
    path = sender.bundle("own")
    with path.open("ab") as file:
        file.write(bytes(20_000))
    with pytest.raises(BundleRefused, match="behind the last member"):
        check(path)


def test_a_header_that_claims_gigabytes_is_not_read(tmp_path: Path) -> None:
    made = tarfile.TarInfo("x")
    made.type, made.size = tarfile.XHDTYPE, 1 << 35
    path = tmp_path / "bomb.tar"
    with path.open("wb") as file:
        file.write(made.tobuf(tarfile.GNU_FORMAT))
        file.truncate(1 << 36)
    with pytest.raises(BundleRefused, match="a header of"):
        check(path)


@pytest.mark.parametrize("content", [b"", b"hello", bytes(10_240), b"GGUF" * 1000])
def test_another_file_is_no_bundle(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(BundleRefused):
        check(tmp_path / "x")


SMALL = index_of((GOOD, b"x" * 700))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_whatever_is_changed_in_a_bundle_it_passes_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = write_tar(tmp_path_factory.getbasetemp() / "fuzz.tar", SMALL, [info(GOOD, b"x" * 700)])
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        check(path)
    except BundleRefused:
        return
    assert b"x" * 700 in content


# Bringing in


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


def test_names_are_added_to_what_the_user_has(sender: Sender, receiver: Path, tmp_path: Path) -> None:
    own = tmp_path / "config/localrouter/model_manifest.toml"
    own.parent.mkdir(parents=True)
    own.write_text('version = 1\n[[models.own.builds]]\nname = "Mine"\nvariant = "tuned"\npath = "/mine.gguf"\n')
    name_builds(bring(sender.bundle("own"), destination(receiver)).targets)
    assert [entry.build.name for entry in Registry.read().find("own")] == ["Mine", "Own-Q8_0"]


def test_a_second_import_writes_nothing(sender: Sender, receiver: Path) -> None:
    path = sender.bundle()
    first, second = bring(path, destination(receiver)), bring(path, destination(receiver))
    assert (first.written, second.written) == (len(BIG) + len(OWN), 0)
    assert set(second.outcomes.values()) == {Outcome.PRESENT}


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
    assert bring(path, destination(receiver)).outcomes == {"Big-Q8_0": Outcome.WRITTEN}
    assert blob.read_bytes() == BIG


def test_an_own_file_of_that_name_is_left_alone(sender: Sender, receiver: Path) -> None:
    (receiver / "models").mkdir(parents=True)
    (receiver / "models/Own-Q8_0.gguf").write_bytes(b"mine")
    with pytest.raises(BundleError, match="another file has this name"):
        bring(sender.bundle("own"), destination(receiver))
    assert (receiver / "models/Own-Q8_0.gguf").read_bytes() == b"mine"


def test_a_lying_checksum_leaves_nothing(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "lie.tar", index_of((GOOD, b"x" * 5000)), [info(GOOD, b"y" * 5000)])
    with pytest.raises(BundleRefused, match="damaged"):
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
    assert parse_index((done.papers / "bundle.json").read_bytes()).of(Kind.LICENCE)


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
        assert "goes on where it stopped" in str(caught.value.hint)
        subprocess.run(["mount", "-o", "remount,size=20m", small], check=True)
        assert 0 < bring(path, destination(small)).written < len(BIG) - (4 << 20)
    finally:
        subprocess.run(["umount", small], check=True)


# Delta


def test_a_delta_leaves_out_what_the_lock_has(sender: Sender, receiver: Path) -> None:
    bring(sender.bundle("big"), destination(receiver))
    delta = sender.contents("big", "own").leaving_out({sha(BIG), "0" * 64})
    index = write_bundle(sender.folder / "delta.tar", delta)
    assert [file.name for file in index.presupposed] == [FILE]
    assert (sender.folder / "delta.tar").stat().st_size < len(BIG)
    assert bring(sender.folder / "delta.tar", destination(receiver)).outcomes == {
        "Big-Q8_0": Outcome.PRESENT,
        "Own-Q8_0": Outcome.WRITTEN,
    }


def test_a_delta_without_its_base_says_what_is_missing(sender: Sender, receiver: Path) -> None:
    write_bundle(sender.folder / "delta.tar", sender.contents("big").leaving_out({sha(BIG)}))
    check(sender.folder / "delta.tar")
    with pytest.raises(BundleError, match=r"builds on Big-Q8_0\.gguf"):
        bring(sender.folder / "delta.tar", destination(receiver))


# Signatures


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """The keys `right` and `other`, and files of allowed signers with the same names."""
    for name in ("right", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
        (tmp_path / f"{name}.signers").write_text(f"{name}@house {(tmp_path / f'{name}.pub').read_text()}")
    return tmp_path


@needs_ssh_keygen
def test_a_right_signature_names_the_signer(sender: Sender, keys: Path) -> None:
    write_bundle(sender.folder / "out.tar", sender.contents("own"), key=keys / "right")
    with Bundle(sender.folder / "out.tar") as bundle:
        assert bundle.signer(keys / "right.signers") == "right@house"
        bundle.check()


@needs_ssh_keygen
def test_the_signature_can_be_checked_without_localrouter(sender: Sender, keys: Path) -> None:
    write_bundle(sender.folder / "out.tar", sender.contents("own"), key=keys / "right")
    with tarfile.open(sender.folder / "out.tar") as tar:
        tar.extract("bundle.json", keys, filter="data")
        tar.extract("bundle.json.sig", keys, filter="data")
    who = ["-I", "right@house", "-n", NAMESPACE, "-f", "right.signers", "-s", "bundle.json.sig"]
    data = (keys / "bundle.json").read_bytes()
    subprocess.run(["ssh-keygen", "-Y", "verify", *who], input=data, cwd=keys, check=True, capture_output=True)


@needs_ssh_keygen
def test_an_unknown_signer_is_refused(sender: Sender, keys: Path) -> None:
    write_bundle(sender.folder / "out.tar", sender.contents("own"), key=keys / "other")
    with Bundle(sender.folder / "out.tar") as bundle, pytest.raises(BundleRefused, match="by nobody"):
        bundle.signer(keys / "right.signers")


@needs_ssh_keygen
def test_a_signature_of_another_index_is_refused(sender: Sender, keys: Path) -> None:
    path = sender.folder / "out.tar"
    write_bundle(path, sender.contents("own"), key=keys / "right")
    path.write_bytes(path.read_bytes().replace(b'"alias": "own"', b'"alias": "gpt"', 1))
    with Bundle(path) as bundle, pytest.raises(BundleRefused, match="does not fit"):
        bundle.signer(keys / "right.signers")


@needs_ssh_keygen
def test_a_missing_signature_is_refused_where_one_is_required(sender: Sender, keys: Path) -> None:
    with Bundle(sender.bundle()) as bundle, pytest.raises(BundleRefused, match="not signed"):
        bundle.signer(keys / "right.signers")


@needs_ssh_keygen
def test_a_key_that_is_none_signs_nothing(sender: Sender) -> None:
    with pytest.raises(BundleError, match="does not sign"):
        write_bundle(sender.folder / "out.tar", sender.contents("own"), key=sender.manifest)


# Memory

_PEAK = """
import sys
from pathlib import Path
from bundle_maker import bring, check, destination, make_sender
from localrouter.weights.bundle.writer import write_bundle, ingredient, Contents
from localrouter.weights.bundle.index import BundledBuild, BundledFile, Kind
def peak():  # getrusage would count what the process that started this one has used
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
folder, size = Path(sys.argv[1]), int(sys.argv[2])
with (folder / "large.gguf").open("wb") as file:
    file.truncate(size)
before = peak()
made = ingredient("weights/large.gguf", Kind.WEIGHT, folder / "large.gguf")
file = BundledFile(name="large.gguf", size=size, sha256=made.member.sha256)
build = BundledBuild(name="Large", alias="large", source="path", files=(file,))
write_bundle(folder / "large.tar", Contents((build,), (made,)))
check(folder / "large.tar")
bring(folder / "large.tar", destination(folder / "receiver"))
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is asked of Linux")
def test_memory_stays_flat_however_large_a_file_is(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _PEAK, tmp_path, str(96 << 20)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) * 1024 < 32 << 20

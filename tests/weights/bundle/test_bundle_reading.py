"""A bundle may come from anybody: it is believed in nothing before it is checked."""

import tarfile
from pathlib import Path

import pytest
from bundle_maker import GOOD, Sender, bring, check, destination, index_of, info, sender, write_tar
from hypothesis import given, settings
from hypothesis import strategies as st

from localrouter.weights.bundle.index import BundleRejected, parse_index
from localrouter.weights.bundle.reader import Bundle

__all__ = ["sender"]


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
    with pytest.raises(BundleRejected, match=r"Own-Q8_0\.gguf is damaged"):
        check(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_a_cut_bundle_is_refused(sender: Sender, share: float) -> None:
    path = sender.bundle()
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * share))
    with pytest.raises(BundleRejected):
        check(path)


def test_a_bundle_cut_after_a_member_is_refused(sender: Sender) -> None:
    path = sender.bundle("own")
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1]
    with path.open("r+b") as file:
        file.truncate(last.offset)
    with pytest.raises(BundleRejected, match="ends before"):
        check(path)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ([info("../evil", b"x")], "not in the index"),
        ([info("/etc/evil", b"x")], "not in the index"),
        ([info(GOOD, kind=tarfile.SYMTYPE, link="/etc/passwd")], "not a regular file"),
        ([info(GOOD, kind=tarfile.LNKTYPE, link="bundle.json")], "not a regular file"),
        ([info(GOOD, kind=tarfile.CHRTYPE)], "not a regular file"),
        ([info(GOOD, kind=tarfile.FIFOTYPE)], "not a regular file"),
        ([info(GOOD, kind=tarfile.DIRTYPE)], "not a regular file"),
        ([info(GOOD, b"xx")], "2 bytes, and 1 in the index"),
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
    with pytest.raises(BundleRejected, match=words):
        check(path)
    with pytest.raises(BundleRejected):
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
    with pytest.raises(BundleRejected):
        parse_index(index.replace(old, new))


def test_an_index_with_a_member_twice_is_refused() -> None:
    with pytest.raises(BundleRejected, match="twice"):
        parse_index(index_of((GOOD, b"x"), ("weights/b.gguf", b"y")).replace(b"weights/b.gguf", GOOD.encode()))


def test_something_behind_the_end_is_refused(sender: Sender) -> None:
    path = sender.bundle("own")
    with path.open("ab") as file:
        file.write(bytes(20_000))
    with pytest.raises(BundleRejected, match="after its last member"):
        check(path)


def test_a_header_that_claims_gigabytes_is_not_read(tmp_path: Path) -> None:
    made = tarfile.TarInfo("x")
    made.type, made.size = tarfile.XHDTYPE, 1 << 35
    path = tmp_path / "bomb.tar"
    with path.open("wb") as file:
        file.write(made.tobuf(tarfile.GNU_FORMAT))
        file.truncate(1 << 36)
    with pytest.raises(BundleRejected, match="a header of"):
        check(path)


@pytest.mark.parametrize("content", [b"", b"hello", bytes(10_240), b"GGUF" * 1000])
def test_another_file_is_no_bundle(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(BundleRejected):
        check(tmp_path / "x")


SMALL = index_of((GOOD, b"x" * 700))


@settings(max_examples=150)
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
    except BundleRejected:
        return
    assert b"x" * 700 in content

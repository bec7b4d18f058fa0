import hashlib
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import pytest
from gguf_bytes import SAMPLE, TENSORS, header, number_pair, text_pair
from hub_cache import FIRST, HubCache
from hypothesis import given, settings
from hypothesis import strategies as st

from localrouter.gguf.header import read_header
from localrouter.gguf.header_bytes import MAX_KEPT
from localrouter.weights.manifest.lockfile import Lock
from localrouter.weights.manifest.manifest import Build
from localrouter.weights.manifest.pin import Pin, PinnedFile
from localrouter.weights.registry import RegistryEntry, user_manifest_path
from localrouter.weights.verification import ExpectedFile, FileVerdict, expected_files, verify, verify_file

DATA = bytes(range(256)) * 8


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A whole GGUF: a header and the data of its tensors."""
    path = tmp_path / "A.gguf"
    path.write_bytes(TENSORS + DATA)
    path.write_bytes((TENSORS + DATA)[: read_header(path).data_end])
    return path


def expected(path: Path) -> ExpectedFile:
    content = path.read_bytes()
    return ExpectedFile(path, len(content), hashlib.sha256(content).hexdigest())


def flaw(verdict: FileVerdict) -> str:
    [only] = verdict.flaws
    assert not verdict.good
    return only


def test_a_whole_file_is_good_and_every_byte_is_reported(model: Path) -> None:
    seen: list[int] = []
    verdict = verify_file(expected(model), seen.append)
    assert verdict.good
    assert verdict.sha256 == hashlib.sha256(model.read_bytes()).hexdigest()
    assert sum(seen) == verdict.size == model.stat().st_size


@pytest.mark.parametrize("place", [-1, -500])
def test_a_flipped_byte_is_found_and_both_digests_are_told(model: Path, place: int) -> None:
    wanted = expected(model)
    content = bytearray(model.read_bytes())
    content[place] ^= 1
    model.write_bytes(content)
    words = flaw(verify_file(wanted))
    assert wanted.sha256 is not None
    assert wanted.sha256 in words
    assert hashlib.sha256(content).hexdigest() in words


def test_a_file_of_another_size_is_not_read(model: Path) -> None:
    wanted = expected(model)
    model.write_bytes(model.read_bytes()[:-1])
    seen: list[int] = []
    assert "bytes instead of" in flaw(verify_file(wanted, seen.append))
    assert seen == []


def test_a_file_that_was_cut_in_its_tensors_is_found_without_a_digest(model: Path) -> None:
    model.write_bytes(model.read_bytes()[:-1])
    size = model.stat().st_size
    assert (
        flaw(verify_file(ExpectedFile(model)))
        == f"it is truncated: its tensors end at byte {size + 1:,}, and it has {size:,}"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "ends in the middle of its header"),
        (SAMPLE[:-1], "ends in the middle of its header"),
        (b"version https://git-lfs.github.com/spec/v1", "does not start with the bytes GGUF"),
        (header(text_pair("general.name", "x")), "has no architecture"),
        (header(text_pair("general.architecture", "q"), number_pair("split.count", 3)), "one of 3 files"),
    ],
)
def test_a_header_that_llama_cpp_could_not_use_is_found(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "A.gguf").write_bytes(content)
    assert words in flaw(verify_file(ExpectedFile(tmp_path / "A.gguf")))


def test_a_later_part_needs_no_architecture(tmp_path: Path) -> None:
    (tmp_path / "A.gguf").write_bytes(header(number_pair("split.count", 2)))
    assert verify_file(ExpectedFile(tmp_path / "A.gguf", part=2, parts=2)).good


def test_a_file_that_vanished_is_bad(tmp_path: Path) -> None:
    assert flaw(verify_file(ExpectedFile(tmp_path / "none"))) == "it is missing"


@pytest.mark.skipif(sys.platform == "win32", reason="a directory opens as a file on POSIX")
def test_what_cannot_be_read_is_bad_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "A.gguf").mkdir()
    assert "cannot be read" in flaw(verify_file(ExpectedFile(tmp_path / "A.gguf")))


def test_a_build_of_the_hub_is_held_against_its_pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    HubCache(tmp_path).add("o/A", "A.gguf", SAMPLE)
    keys = {"repo": "o/A", "file": "A.gguf", "revision": FIRST, "size": len(SAMPLE), "sha256": "0" * 64}
    entry = RegistryEntry("a", Build.model_validate({"name": "A", "variant": "s"} | keys), Path("/m.toml"))
    verdict = verify(entry, expected_files(entry))
    assert (verdict.good, verdict.remedy) == (False, "localrouter remove a:s && localrouter pull a:s")


def test_of_a_file_of_the_user_only_the_header_may_be_known(model: Path) -> None:
    entry = RegistryEntry("a", Build(name="A", path=str(model)), Path("/m.toml"))
    verdict = verify(entry, expected_files(entry))
    assert (verdict.good, verdict.hashed) == (True, False)


def test_of_a_file_of_the_user_only_the_size_may_be_known(model: Path) -> None:
    entry = RegistryEntry("a", Build(name="A", path=str(model), size=model.stat().st_size + 1), Path("/m.toml"))
    verdict = verify(entry, expected_files(entry))
    assert (verdict.good, "instead of" in flaw(verdict.files[0])) == (False, True)


def test_a_file_of_the_user_is_held_against_the_manifest(model: Path) -> None:
    wanted = expected(model)
    build = Build(name="A", path=str(model), size=wanted.size, sha256=wanted.sha256)
    entry = RegistryEntry("a", build, Path("/m.toml"))
    verdict = verify(entry, expected_files(entry))
    assert (verdict.good, verdict.hashed) == (True, True)


def test_a_changed_file_of_the_user_can_be_put_back_or_added_again(model: Path) -> None:
    other = "0" * 64
    entry = RegistryEntry("a", Build(name="Mine", variant="b", path=str(model), sha256=other), user_manifest_path())
    verdict = verify(entry, expected_files(entry))
    assert verdict.remedy.endswith(f"accept the current one with: localrouter add a:b {model} --name Mine")
    elsewhere = replace(verdict, entry=RegistryEntry("a", Build(name="A", path=model.name), model.parent / "m.toml"))
    assert elsewhere.remedy.endswith(f"localrouter add a {model} --manifest {model.parent / 'm.toml'}")


PARTS = tuple(f"A-0000{number}-of-00003.gguf" for number in (1, 2, 3))
PART = header(text_pair("general.architecture", "q"), number_pair("split.count", 3))


@pytest.fixture
def split(tmp_path: Path) -> RegistryEntry:
    """A build of three parts beside each other, with the digest of each."""
    for number, part in enumerate(PARTS):
        (tmp_path / part).write_bytes(PART + bytes([number]) * 9)
    digests = tuple(hashlib.sha256((tmp_path / part).read_bytes()).hexdigest() for part in PARTS)
    build = Build(name="A", path=str(tmp_path / PARTS[0]), size=3 * (len(PART) + 9), part_sha256=digests)
    return RegistryEntry("a", build, tmp_path / "m.toml")


def test_every_part_of_a_split_build_is_held_against_its_own_digest(split: RegistryEntry, tmp_path: Path) -> None:
    verdict = verify(split, expected_files(split))
    assert (verdict.good, verdict.hashed) == (True, True)
    (tmp_path / PARTS[1]).write_bytes(PART + b"someother")
    changed = verify(split, expected_files(split))
    assert [file.good for file in changed.files] == [True, False, True]
    assert "its sha256 is" in flaw(changed.files[1])


def test_a_part_that_was_cut_is_the_bad_one(split: RegistryEntry, tmp_path: Path) -> None:
    (tmp_path / PARTS[2]).write_bytes(PART[:-3])
    verdict = verify(split, expected_files(split))
    assert [file.good for file in verdict.files] == [True, True, False]
    assert "ends in the middle of its header" in flaw(verdict.files[2])


@pytest.mark.parametrize("absent", PARTS)
def test_a_missing_part_is_named_with_where_it_belongs(split: RegistryEntry, tmp_path: Path, absent: str) -> None:
    (tmp_path / absent).unlink()
    verdict = verify(split, expected_files(split))
    assert [(file.path.name, file.flaws) for file in verdict.files if not file.good] == [(absent, ("it is missing",))]
    assert verdict.remedy == f"put {absent} into the folder of the other parts"


def test_parts_of_a_wrong_size_together_are_bad_where_no_digest_is_known(split: RegistryEntry) -> None:
    without = replace(split, build=split.build.model_copy(update={"part_sha256": None, "size": 5}))
    verdict = verify(without, expected_files(without))
    assert not verdict.good
    assert verdict.flaws == (f"all parts together have {3 * (len(PART) + 9):,} bytes instead of 5",)


@pytest.fixture
def pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RegistryEntry:
    """A build of the hub in three parts, locked, with all parts in the cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    contents = {part: PART + part.encode() for part in PARTS}
    for part, content in contents.items():
        HubCache(tmp_path).add("o/A", part, content)
    files = tuple(PinnedFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in contents.items())
    build = Build(name="A", repo="o/A", file=PARTS[0])
    return RegistryEntry("a", build, tmp_path / "m.toml", Lock({"A": Pin("o/A", FIRST, files)}))


def test_a_part_that_the_cache_lacks_is_pulled(pulled: RegistryEntry) -> None:
    expected_files(pulled)[1].path.unlink()
    verdict = verify(pulled, expected_files(pulled))
    assert [file.flaws for file in verdict.files] == [(), ("it is missing",), ()]
    assert verdict.remedy == "localrouter pull A"


def test_a_part_of_another_size_than_its_pin_is_pulled_anew(pulled: RegistryEntry) -> None:
    part = expected_files(pulled)[2].path
    part.write_bytes(part.read_bytes() + b"more")
    verdict = verify(pulled, expected_files(pulled))
    assert [file.good for file in verdict.files] == [True, True, False]
    assert "bytes instead of" in flaw(verdict.files[2])
    assert verdict.remedy == "localrouter remove A && localrouter pull A"


def test_a_build_that_is_not_here_has_no_files() -> None:
    assert expected_files(RegistryEntry("a", Build(name="A", path="/nowhere/a.gguf"), Path("/m.toml"))) == ()


@settings(max_examples=60)
@given(changes=st.lists(st.tuples(st.integers(4, len(TENSORS) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_whatever_the_header_of_a_large_file_claims_it_takes_little_memory(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    content = bytearray(TENSORS)
    for index, value in changes:
        content[index] = value
    path = tmp_path_factory.getbasetemp() / "large.gguf"
    path.write_bytes(content)
    with path.open("r+b") as file:
        file.truncate(2**33)  # sparse
    tracemalloc.start()
    verify_file(ExpectedFile(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MAX_KEPT

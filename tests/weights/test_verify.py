import hashlib
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
from gguf_bytes import SAMPLE, TENSORS, header, number_pair, text_pair
from hub_cache import FIRST, HubCache

from localrouter.gguf.header import read_header
from localrouter.weights.manifest.manifest import Build
from localrouter.weights.manifest.registry import Entry
from localrouter.weights.verify import Expected, Verdict, expected_files, verify, verify_file

DATA = bytes(range(256)) * 8


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A whole GGUF: a header and the data of its tensors."""
    path = tmp_path / "A.gguf"
    path.write_bytes(TENSORS + DATA)
    path.write_bytes((TENSORS + DATA)[: read_header(path).data_end])
    return path


def expected(path: Path) -> Expected:
    content = path.read_bytes()
    return Expected(path, len(content), hashlib.sha256(content).hexdigest())


def flaw(verdict: Verdict) -> str:
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
    assert "bytes, and" in flaw(verify_file(wanted, seen.append))
    assert seen == []


def test_a_file_that_was_cut_in_its_tensors_is_found_without_a_digest(model: Path) -> None:
    model.write_bytes(model.read_bytes()[:-1])
    size = model.stat().st_size
    assert (
        flaw(verify_file(Expected(model))) == f"its tensors end at byte {size + 1:,}, and it has {size:,}: it was cut"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "ends in the middle of its header"),
        (SAMPLE[:-1], "ends in the middle of its header"),
        (b"version https://git-lfs.github.com/spec/v1", "does not start with the bytes GGUF"),
        (header(text_pair("general.name", "x")), "does not say which architecture"),
        (header(text_pair("general.architecture", "q"), number_pair("split.count", 3)), "one of 3 files"),
    ],
)
def test_a_header_that_llama_cpp_could_not_use_is_found(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "A.gguf").write_bytes(content)
    assert words in flaw(verify_file(Expected(tmp_path / "A.gguf")))


def test_a_later_part_needs_no_architecture(tmp_path: Path) -> None:
    (tmp_path / "A.gguf").write_bytes(header(number_pair("split.count", 2)))
    assert verify_file(Expected(tmp_path / "A.gguf", part=2, parts=2)).good


def test_a_file_that_vanished_is_bad(tmp_path: Path) -> None:
    assert flaw(verify_file(Expected(tmp_path / "none"))) == "it is missing"


@pytest.mark.skipif(sys.platform == "win32", reason="a directory opens as a file on POSIX")
def test_what_cannot_be_read_is_bad_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "A.gguf").mkdir()
    assert "cannot be read" in flaw(verify_file(Expected(tmp_path / "A.gguf")))


def test_a_build_of_the_hub_is_held_against_its_pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    HubCache(tmp_path).add("o/A", "A.gguf", SAMPLE)
    keys = {"repo": "o/A", "file": "A.gguf", "revision": FIRST, "size": len(SAMPLE), "sha256": "0" * 64}
    entry = Entry("a", Build.model_validate({"name": "A", "variant": "s"} | keys), Path("/m.toml"))
    verdict = verify(entry, expected_files(entry))
    assert (verdict.good, verdict.remedy) == (False, "localrouter remove a:s && localrouter pull a:s")


def test_of_a_file_of_the_user_only_the_header_may_be_known(model: Path) -> None:
    entry = Entry("a", Build(name="A", path=str(model)), Path("/m.toml"))
    verdict = verify(entry, expected_files(entry))
    assert (verdict.good, verdict.hashed, verdict.remedy) == (True, False, "put a whole copy in its place")


def test_a_file_of_the_user_is_held_against_the_manifest(model: Path) -> None:
    wanted = expected(model)
    build = Build(name="A", path=str(model), size=wanted.size, sha256=wanted.sha256)
    entry = Entry("a", build, Path("/m.toml"))
    verdict = verify(entry, expected_files(entry))
    assert (verdict.good, verdict.hashed) == (True, True)


def test_every_part_of_a_split_build_is_looked_at(tmp_path: Path) -> None:
    first, second = tmp_path / "A-00001-of-00002.gguf", tmp_path / "A-00002-of-00002.gguf"
    first.write_bytes(header(text_pair("general.architecture", "q"), number_pair("split.count", 2)))
    second.write_bytes(b"rubbish")
    entry = Entry("a", Build(name="A", path=str(first)), Path("/m.toml"))
    verdict = verify(entry, expected_files(entry))
    assert [file.good for file in verdict.files] == [True, False]


def test_a_build_that_is_not_here_has_no_files() -> None:
    assert expected_files(Entry("a", Build(name="A", path="/nowhere/a.gguf"), Path("/m.toml"))) == ()

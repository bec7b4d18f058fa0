import re
import stat
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrouter.errors import ManifestError
from localrouter.weights.manifest.lockfile import Lock, lock_path, pin_of, read_lock, render_lock, write_lock
from localrouter.weights.manifest.manifest import Build
from localrouter.weights.manifest.pin import Pin, PinnedFile

COMMIT, OTHER, DIGEST = "a" * 40, "b" * 40, "c" * 64
PIN = Pin("them/A-GGUF", COMMIT, (PinnedFile("A-Q8_0.gguf", 1_000_000, DIGEST),), "mit", "d" * 64)
TEXT = render_lock(Lock({"A-Q8_0": PIN}))

hexadecimal = st.text("0123456789abcdef", min_size=64, max_size=64)
words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
names = words.filter(lambda text: text.isprintable() and text == text.strip() and ":" not in text)
stems = st.from_regex(r"[A-Za-z0-9_]{1,8}( [a-z\"']{1,3})?", fullmatch=True)


@st.composite
def pins(draw: st.DrawFn) -> Pin:
    stem, count = draw(stems), draw(st.integers(1, 3))
    files = [f"{stem}.gguf"] if count == 1 else [f"d/{stem}-{n:05}-of-{count:05}.gguf" for n in range(1, count + 1)]
    pinned = tuple(PinnedFile(file, draw(st.integers(1, 2**50)), draw(hexadecimal)) for file in files)
    template = draw(st.none() | hexadecimal)
    return Pin("them/A-GGUF", draw(hexadecimal)[:40], pinned, draw(st.none() | words), template)


def build(**keys: object) -> Build:
    given_keys = {"name": "A-Q8_0", "repo": "them/A-GGUF", "file": "A-Q8_0.gguf"} | keys
    return Build.model_validate(given_keys)


def read(directory: Path, text: str) -> Lock:
    path = directory / "model_manifest.lock"
    path.write_text(text)
    return read_lock(path)


def refusal(directory: Path, text: str) -> str:
    with pytest.raises(ManifestError) as caught:
        read(directory, text)
    assert "localrouter lock" in (caught.value.hint or "")
    return caught.value.message.removeprefix(str(directory / "model_manifest.lock"))


def test_the_lock_stands_beside_its_manifest() -> None:
    assert lock_path(Path("/etc/model_manifest.toml")) == Path("/etc/model_manifest.lock")


@given(st.dictionaries(names, pins(), max_size=4))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, entries: dict[str, Pin]) -> None:
    path = tmp_path_factory.getbasetemp() / "round.lock"
    write_lock(path, Lock(entries))
    assert read_lock(path) == Lock(entries)


def test_equal_locks_are_equal_texts_whatever_their_order() -> None:
    assert render_lock(Lock({"a": PIN, "b": PIN})) == render_lock(Lock({"b": PIN, "a": PIN}))


def test_the_text_says_who_wrote_it_and_is_made_to_be_reviewed() -> None:
    header, _, body = TEXT.partition("version = 1\n")
    assert "`localrouter lock`" in header
    assert (
        body
        == f"""
[builds."A-Q8_0"]
repo = "them/A-GGUF"
commit = "{COMMIT}"
license = "mit"
template_sha256 = "{"d" * 64}"

[[builds."A-Q8_0".files]]
name = "A-Q8_0.gguf"
size = 1_000_000
sha256 = "{DIGEST}"
"""
    )


def test_a_lock_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_lock(tmp_path / "none.lock") == Lock({})


def test_a_lock_is_replaced_as_a_whole_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "m.lock"
    write_lock(path, Lock({"A-Q8_0": PIN}))
    write_lock(path, Lock())
    assert read_lock(path) == Lock({})
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="links of POSIX")
def test_a_lock_behind_a_link_is_replaced_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "m.lock").symlink_to(tmp_path / "real" / "m.lock")
    write_lock(tmp_path / "m.lock", Lock({"A-Q8_0": PIN}))
    assert (tmp_path / "m.lock").is_symlink()
    assert (tmp_path / "real" / "m.lock").read_text() == TEXT


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_directory_that_cannot_be_written_is_named_with_the_way_out(tmp_path: Path) -> None:
    directory = tmp_path / "file"
    directory.touch()
    with pytest.raises(ManifestError, match=r"m\.lock: the lockfile cannot be written") as caught:
        write_lock(directory / "m.lock", Lock())
    assert "--output" in (caught.value.hint or "")


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_others_may_read_what_was_locked(tmp_path: Path) -> None:
    write_lock(tmp_path / "m.lock", Lock())
    (tmp_path / "by-hand").touch()
    assert stat.S_IMODE((tmp_path / "m.lock").stat().st_mode) == stat.S_IMODE((tmp_path / "by-hand").stat().st_mode)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version = 1", "version = 2", ":4: version: only version 1 of the lockfile is supported"),
        ("version = 1\n", "", ":1: version: this key is missing"),
        ("version = 1", "version = 1\nother = 2", ":5: other: unknown key"),
        (f'commit = "{COMMIT}"', 'commit = "main"', ":8: builds.A-Q8_0.commit: must be a commit"),
        (f'commit = "{COMMIT}"\n', "", ":6: builds.A-Q8_0.commit: this key is missing"),
        ("size = 1_000_000", 'size = "1"', ":14: builds.A-Q8_0.files[0].size: input should be a valid integer"),
        ("size = 1_000_000", "size = 0", ":14: builds.A-Q8_0.files[0].size: "),
        (f'sha256 = "{DIGEST}"', 'sha256 = "12"', ":15: builds.A-Q8_0.files[0].sha256: must be 64 hexadecimal"),
        ('name = "A-Q8_0.gguf"', 'name = "../x"', ":13: builds.A-Q8_0.files[0].name: must be a plain relative"),
        ('"A-Q8_0.gguf"', '"A-00001-of-00002.gguf"', ":12: builds.A-Q8_0.files: must be one file, or all parts"),
        ("them/A-GGUF", "them", ":7: builds.A-Q8_0.repo: must be OWNER/NAME"),
    ],
)
def test_a_mistake_is_named_with_line_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TEXT
    assert refusal(tmp_path, TEXT.replace(old, new)).startswith(message)


@pytest.mark.parametrize("length", range(0, len(TEXT), 7))
def test_a_lock_that_was_cut_is_refused_or_has_whole_entries(tmp_path: Path, length: int) -> None:
    try:
        lock = read(tmp_path, TEXT[:length])
    except ManifestError:
        assert re.match(r":\d+: ", refusal(tmp_path, TEXT[:length]))
        return
    assert lock in (Lock({}), Lock({"A-Q8_0": PIN}))


def test_a_lock_that_cannot_be_read_is_no_empty_lock(tmp_path: Path) -> None:
    (tmp_path / "m.lock").mkdir()
    with pytest.raises(ManifestError, match=r"m\.lock: the lock cannot be read"):
        read_lock(tmp_path / "m.lock")


def test_the_lock_goes_before_the_manifest() -> None:
    assert pin_of(build(), Lock({"A-Q8_0": PIN})) == PIN


def test_a_manifest_that_says_everything_is_a_pin() -> None:
    pin = pin_of(build(revision=COMMIT, size=5, sha256=DIGEST, license="mit"), Lock())
    assert pin == Pin("them/A-GGUF", COMMIT, (PinnedFile("A-Q8_0.gguf", 5, DIGEST),), "mit")


@pytest.mark.parametrize("without", ["revision", "size", "sha256"])
def test_a_manifest_that_says_less_is_no_pin(without: str) -> None:
    keys: dict[str, object] = {"revision": COMMIT, "size": 5, "sha256": DIGEST}
    del keys[without]
    assert pin_of(build(**keys), Lock()) is None


def test_the_parts_of_a_split_build_are_pinned_by_the_lock_alone() -> None:
    split = build(file="A-00001-of-00002.gguf", revision=COMMIT, size=7)
    assert pin_of(split, Lock()) is None
    parts = (PinnedFile("A-00001-of-00002.gguf", 3, DIGEST), PinnedFile("A-00002-of-00002.gguf", 4, "e" * 64))
    pin = Pin("them/A-GGUF", COMMIT, parts)
    assert pin_of(split, Lock({"A-Q8_0": pin})) == pin
    assert pin.size == 7


def test_what_does_not_come_from_the_hub_has_no_pin() -> None:
    assert pin_of(Build(name="A-Q8_0", path="x"), Lock({"A-Q8_0": PIN})) is None


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"repo": "us/A-GGUF"}, "repo is us/A-GGUF in the manifest and them/A-GGUF in the lock"),
        ({"revision": OTHER}, f"revision is {OTHER} in the manifest and {COMMIT} in the lock"),
        ({"file": "B.gguf"}, "file is B.gguf in the manifest and A-Q8_0.gguf in the lock"),
        ({"size": 5}, "size is 5 in the manifest and 1000000 in the lock"),
        ({"sha256": "0" * 64}, f"sha256 is {'0' * 64} in the manifest and {DIGEST} in the lock"),
    ],
)
def test_a_manifest_that_says_something_else_is_an_error_with_both(keys: dict[str, object], words: str) -> None:
    with pytest.raises(ManifestError) as caught:
        pin_of(build(**keys), Lock({"A-Q8_0": PIN}))
    assert words in caught.value.message
    assert "A-Q8_0" in (caught.value.hint or "")

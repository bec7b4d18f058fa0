import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gguf_bytes import SAMPLE, array_pair, header, text, text_pair
from hub_cache import FIRST, SECOND

from localrouter.errors import HubNotFound, ManifestError
from localrouter.gguf.header import GgufError
from localrouter.weights.hub.resolve import LockChange, at_once, changes, check, resolve
from localrouter.weights.manifest.lockfile import Lock
from localrouter.weights.manifest.manifest import Build
from localrouter.weights.manifest.pin import Pin, PinnedFile
from localrouter.weights.registry import RegistryEntry

REPO, FILE = "them/A", "A.gguf"
TEMPLATE = hashlib.sha256(b"{{ messages }}").hexdigest()
CONTENT = header(
    text_pair("general.architecture", "qwen3"),
    array_pair("tokenizer.ggml.tokens", 8, 500, text("word") * 500),
    text_pair("tokenizer.chat_template", "{{ messages }}"),
)


def pinned(content: bytes, commit: str) -> Pin:
    file = PinnedFile(FILE, len(content), hashlib.sha256(content).hexdigest())
    return Pin(REPO, commit, (file,), "mit")


class FakeHub:
    """Contents by commit; the last one is the head."""

    def __init__(self, commits: Mapping[str, bytes]) -> None:
        self.commits = dict(commits)
        self.read: list[tuple[int, int]] = []

    def pin(self, repo: str, file: str, revision: str | None = None) -> Pin:
        commit = revision or next(reversed(self.commits), "none")
        if (repo, file) != (REPO, FILE) or commit not in self.commits:
            raise HubNotFound("not there")
        return pinned(self.commits[commit], commit)

    def read_range(self, repo: str, file: str, commit: str, start: int, stop: int) -> bytes:
        self.read.append((start, stop))
        return self.commits[commit][start:stop]


def entry(lock: Pin | None = None, **keys: object) -> RegistryEntry:
    build = Build.model_validate({"name": "A", "repo": REPO, "file": FILE} | keys)
    return RegistryEntry("a", build, Path("/nowhere/m.toml"), Lock({"A": lock} if lock else {}))


def test_a_build_without_a_revision_is_pinned_to_the_head() -> None:
    pin = resolve(entry(), FakeHub({FIRST: b"", SECOND: CONTENT}))
    assert pin == replace(pinned(CONTENT, SECOND), template_sha256=TEMPLATE)


def test_a_revision_of_the_manifest_is_kept() -> None:
    assert resolve(entry(revision=FIRST), FakeHub({FIRST: CONTENT, SECOND: SAMPLE})).commit == FIRST


@pytest.mark.parametrize(("key", "value"), [("size", 5), ("sha256", "0" * 64)])
def test_another_file_than_the_manifest_says_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ManifestError, match=rf"A: its {key} is {value} in the manifest, and \w+ on the hub at {FIRST}"):
        resolve(entry(**{key: value}), FakeHub({FIRST: CONTENT}))


def test_a_model_without_a_template_has_no_digest_of_it() -> None:
    assert resolve(entry(), FakeHub({FIRST: SAMPLE})).template_sha256 is None


def test_a_file_that_is_no_gguf_is_not_locked() -> None:
    with pytest.raises(GgufError, match=r"them/A/A\.gguf is not a usable GGUF"):
        resolve(entry(), FakeHub({FIRST: b"not a model at all"}))


def test_a_template_that_is_locked_is_not_read_again() -> None:
    hub = FakeHub({FIRST: CONTENT, SECOND: CONTENT})
    before = replace(pinned(CONTENT, FIRST), template_sha256=TEMPLATE)
    assert resolve(entry(before), hub) == replace(before, commit=SECOND)
    assert hub.read == []


def test_nothing_moved_is_nothing_to_tell() -> None:
    assert check(entry(pinned(CONTENT, FIRST)), FakeHub({FIRST: CONTENT})) == []


def test_a_branch_that_moved_is_told_with_both_commits() -> None:
    hub = FakeHub({FIRST: CONTENT, SECOND: CONTENT})
    assert check(entry(pinned(CONTENT, FIRST)), hub) == [LockChange("A", "commit", FIRST, SECOND)]


def test_a_file_that_changed_is_told_with_both_digests() -> None:
    found = check(entry(pinned(CONTENT, FIRST)), FakeHub({FIRST: CONTENT, SECOND: SAMPLE}))
    digests = [hashlib.sha256(content).hexdigest() for content in (CONTENT, SAMPLE)]
    assert found[-1] == LockChange("A", "sha256", *digests)


def test_a_new_template_is_told_where_the_old_one_is_known() -> None:
    other = CONTENT.replace(b"{{ messages }}", b"{{ messagez }}")
    before = replace(pinned(CONTENT, FIRST), template_sha256=TEMPLATE)
    found = check(entry(before), FakeHub({FIRST: CONTENT, SECOND: other}))
    assert [change.what for change in found] == ["commit", "template", "sha256"]


def test_other_bytes_at_the_locked_commit_are_told() -> None:
    found = check(entry(pinned(CONTENT, FIRST)), FakeHub({FIRST: SAMPLE}))
    assert [change.what for change in found] == ["sha256"]


def test_a_build_that_is_not_locked_is_told() -> None:
    assert check(entry(), FakeHub({FIRST: CONTENT})) == [LockChange("A", "pin", "-", FIRST)]


def test_a_history_that_was_rewritten_is_told() -> None:
    found = check(entry(pinned(CONTENT, FIRST)), FakeHub({SECOND: CONTENT}))
    assert found[0] == LockChange("A", "locked commit", FIRST, "gone")


def test_a_file_that_left_the_branch_is_told() -> None:
    assert check(entry(pinned(CONTENT, FIRST)), FakeHub({})) == [LockChange("A", "main", FIRST, "gone")]


def test_equal_locks_have_no_changes() -> None:
    lock = Lock({"A": pinned(CONTENT, FIRST)})
    assert changes(lock, lock) == []


def test_what_came_and_what_went_is_a_change() -> None:
    one, two = Lock({"A": pinned(CONTENT, FIRST)}), Lock({"B": pinned(CONTENT, SECOND)})
    assert changes(one, two) == [LockChange("A", "pin", FIRST, "-"), LockChange("B", "pin", "-", SECOND)]


def test_every_field_that_differs_is_a_change() -> None:
    old = pinned(CONTENT, FIRST)
    new = Pin("us/A", SECOND, (PinnedFile("B.gguf", 1, "f" * 64),), None, TEMPLATE)
    whats = [change.what for change in changes(Lock({"A": old}), Lock({"A": new}))]
    assert whats == ["repo", "commit", "license", "template", "file", "file"]
    assert [change.what for change in changes(Lock({"A": new}), Lock({"A": old}))] == whats


def test_answers_keep_the_order_of_the_questions() -> None:
    assert at_once(lambda number: number * 2, range(50)) == [*range(0, 100, 2)]

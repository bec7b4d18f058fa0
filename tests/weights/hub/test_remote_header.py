import pytest
from gguf_bytes import SAMPLE, TENSORS, array_pair, header, text, text_pair

from localrouter.gguf.header import GgufError
from localrouter.weights.hub import remote_header
from localrouter.weights.hub.remote_header import remote_headers
from localrouter.weights.manifest.pin import Pin, PinnedFile


class FakeHub:
    """Files in memory; remembers the ranges that were asked for."""

    def __init__(self, **files: bytes) -> None:
        self.files = files
        self.asked: list[tuple[str, int, int]] = []

    def read_range(self, repo: str, file: str, commit: str, start: int, stop: int) -> bytes:
        assert (repo, commit) == ("them/A", "c" * 40)
        self.asked.append((file, start, stop))
        return self.files[file][start:stop]


def headers(hub: FakeHub, *files: str) -> list[str | None]:
    return [found.architecture for found in remote_headers(hub, "them/A", "c" * 40, files)]


def test_one_question_is_enough_for_most_files() -> None:
    hub = FakeHub(a=TENSORS + bytes(remote_header.FIRST))
    assert headers(hub, "a") == ["qwen3"]
    assert hub.asked == [("a", 0, remote_header.FIRST)]


def test_a_large_vocabulary_is_fetched_on_without_fetching_anything_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_header, "FIRST", 1000)
    vocabulary = array_pair("v", 8, 2000, b"".join(text("x" * 12) for _ in range(2000)))
    hub = FakeHub(a=header(text_pair("general.architecture", "gemma4"), vocabulary) + bytes(50_000))
    assert headers(hub, "a") == ["gemma4"]
    starts_and_stops = [(start, stop) for _, start, stop in hub.asked]
    assert [start for start, _ in starts_and_stops[1:]] == [stop for _, stop in starts_and_stops[:-1]]
    assert len(hub.asked) < 8


def test_every_part_of_a_split_file_is_asked_for() -> None:
    hub = FakeHub(a=TENSORS, b=SAMPLE)
    assert headers(hub, "a", "b") == ["qwen3", "qwen3"]
    assert hub.asked[1] == ("b", 0, remote_header.FIRST_OF_OTHERS)


@pytest.mark.parametrize("data", [b"", b"no GGUF", TENSORS[:-20]])
def test_what_is_no_header_is_an_error_and_no_endless_loop(data: bytes) -> None:
    with pytest.raises(GgufError, match="them/A/a is not a usable GGUF"):
        headers(FakeHub(a=data), "a")


def test_of_a_pin_the_first_file_is_read_and_nothing_behind_its_end_is_asked_for() -> None:
    hub = FakeHub(a=TENSORS)
    pin = Pin("them/A", "c" * 40, (PinnedFile("a", len(TENSORS), "0" * 64), PinnedFile("b", 5, "0" * 64)))
    assert remote_header.remote_header(hub, pin).architecture == "qwen3"
    assert hub.asked == [("a", 0, len(TENSORS))]

"""The vocabulary remembers what segments are made of, and never mistakes one for another."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import localrouter
from localrouter.engine.llama import vocabulary
from localrouter.engine.llama.backend import LlamaBackend
from localrouter.engine.messages import LoadOptions, Segment

DEMO = str(Path(localrouter.__file__).parent / "assets" / "demo.gguf")


@pytest.fixture(scope="module")
def backend() -> Iterator[LlamaBackend]:
    backend = LlamaBackend(DEMO, LoadOptions(threads=1, cells=512, max_sequences=1))
    yield backend
    backend.close()


def test_a_segment_has_the_same_tokens_each_time_and_wherever_it_stands(backend: LlamaBackend) -> None:
    head, text = Segment("<|im_start|>user\n", control=True), Segment("What is the capital of France?", control=False)
    once, tail = backend.tokenize([head, text]), backend.tokenize([text])

    assert backend.tokenize([head, text]) == once
    assert once[-len(tail) :] == tail
    assert backend.tokenize([text, text]) == tail + tail


def test_text_is_not_taken_for_the_control_token_that_it_spells(backend: LlamaBackend) -> None:
    control, text = (backend.tokenize([Segment("<|im_end|>", control=each)]) for each in (True, False))

    assert len(control) == 1
    assert control[0] not in text
    assert [backend.tokenize([Segment("<|im_end|>", control=each)]) for each in (True, False)] == [control, text]


def test_what_was_used_least_recently_is_forgotten_and_read_anew(
    backend: LlamaBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "_REMEMBERED", 20)
    words = backend._vocabulary
    texts = [Segment(letter * 8, control=False) for letter in "abc"]
    first = [words.tokenize([text]) for text in texts]

    assert [text in words._known for text in texts] == [False, True, True]
    assert [words.tokenize([text]) for text in texts] == first
    assert words.tokenize([Segment("d" * 100, control=False)])
    assert not words._known

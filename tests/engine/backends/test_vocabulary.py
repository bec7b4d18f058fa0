"""The vocabulary remembers what segments are made of, and never mistakes one for another."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import localrouter
from localrouter.engine.backends.llama import vocabulary
from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.engine.generation_request import Segment
from localrouter.load_options import LoadOptions

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


@pytest.mark.parametrize("control", [True, False])
def test_a_long_text_is_read_in_parts_that_make_the_same_tokens(
    backend: LlamaBackend, monkeypatch: pytest.MonkeyPatch, control: bool
) -> None:
    text = "".join(f"<|im_start|>user\nWhat is {n}?<|im_end|>\n<think>\n\n</think> hm" for n in range(50))
    whole = backend.tokenize([Segment(text, control)])

    monkeypatch.setattr(vocabulary, "_AT_ONCE", 100)
    assert backend.tokenize([Segment(f"{text}!", control)])[: len(whole)] == whole


def test_a_text_is_cut_before_what_is_found_by_its_spelling() -> None:
    assert list(vocabulary._parts("ab<c><cd>e<c>", ["<cd>", "<c>"], 4)) == ["ab<c>", "<cd>e", "<c>"]
    assert list(vocabulary._parts("abcdefgh", ["<c>"], 4)) == ["abcdefgh"]


MARKS = ["<think>", "</think>", "<tool_call>", "</tool_call>"]


@pytest.mark.parametrize("special", MARKS)
def test_plain_text_is_not_the_special_token_that_it_spells(backend: LlamaBackend, special: str) -> None:
    number = backend.info.special_tokens[special]
    text = f"a {special}{special}b"

    assert backend.tokenize([Segment(special, control=True)]) == [number]
    plain = backend.tokenize([Segment(text, control=False)])
    assert not set(backend.info.special_tokens.values()) & set(plain)
    assert b"".join(map(backend.piece, plain)) == text.encode()


def test_special_tokens_are_those_that_no_user_writes_by_chance(backend: LlamaBackend) -> None:
    assert set(backend.info.special_tokens) == {"<|endoftext|>", "<|im_start|>", "<|im_end|>", *MARKS}


@pytest.mark.parametrize(
    ("text", "template", "is_special"),
    [
        ("<tool_call>", "", True),
        ("<|channel>", "", True),
        ('<|"|>', "", True),
        ("<think>", "{{ '<think>' }}", True),
        ("<think>", "", False),
        ("<h1>", "{{ content }}", False),
        ("[PAD_1]", "", False),
        ("<>", "<>", False),
    ],
)
def test_html_is_not_special(text: str, template: str, is_special: bool) -> None:
    assert vocabulary._is_special(text, template) is is_special


def test_control_tokens_have_text_only_where_it_is_asked_for(backend: LlamaBackend) -> None:
    token = backend.info.special_tokens["<|im_end|>"]

    assert (backend.piece(token), backend.text(token)) == (b"", b"<|im_end|>")


def test_grammars_get_every_token_and_the_tokenizer(backend: LlamaBackend) -> None:
    known = backend.grammar_vocabulary()

    assert [known.pieces[special] for special in known.special_tokens] == [
        special.encode() for special in backend.info.special_tokens
    ]
    assert sorted(known.ends) == [token for token in range(len(known.pieces)) if backend.is_end(token)]
    assert b"".join(known.pieces[token] for token in known.tokenize(" a<think>")) == b" a<think>"
    assert not set(known.special_tokens) & set(known.tokenize(" a<think>"))


def test_the_least_recently_used_segment_is_evicted_and_tokenized_again(
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

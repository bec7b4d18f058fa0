"""The vocabulary in a GGUF file decides the turn format of a model without a chat template."""

import struct
from pathlib import Path

import pytest
from gguf_bytes import array_pair, header, text, text_pair
from real_vocabularies import needs_samples, vocabulary_file

from localrouter.gguf import turn_format as module
from localrouter.gguf.header import CHAT_TEMPLATE, GgufError, read_header
from localrouter.gguf.turn_format import TurnFormat, fallback_of_file, fallback_of_header, turn_format

CHATML, GEMMA, GEMMA4 = ["<|im_start|>", "<|im_end|>"], ["<start_of_turn>", "<end_of_turn>"], ["<|turn>", "<turn|>"]
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
TEMPLATE = text_pair(CHAT_TEMPLATE, "{{ messages }}")


@pytest.mark.parametrize(
    ("special", "expected"),
    [
        (CHATML, "chatml"),
        (GEMMA, "gemma"),
        (GEMMA4, "gemma4"),
        (["<s>", "</s>"], "plain"),
        ([], "plain"),
        (GEMMA[:1], "plain"),
        (CHATML[1:], "plain"),
        ([*GEMMA, *CHATML], "chatml"),
    ],
)
def test_a_vocabulary_with_both_delimiters_has_the_format(special: list[str], expected: TurnFormat) -> None:
    assert turn_format(special) == expected


def tokens(*texts: str) -> bytes:
    return array_pair("tokenizer.ggml.tokens", 8, len(texts), b"".join(map(text, texts)))


def types(*kinds: int, stored_as: int = 5) -> bytes:
    return array_pair("tokenizer.ggml.token_type", stored_as, len(kinds), struct.pack(f"<{len(kinds)}i", *kinds))


def fallback(path: Path, *pairs: bytes, **search: int) -> TurnFormat | None:
    path.write_bytes(header(*pairs))
    return fallback_of_file(path, **search)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


@pytest.mark.parametrize("kind", [CONTROL, USER_DEFINED])
def test_a_file_without_a_template_has_the_format_of_its_vocabulary(path: Path, kind: int) -> None:
    assert fallback(path, tokens("a", *GEMMA, "b"), types(NORMAL, kind, kind, NORMAL)) == "gemma"


def test_a_file_with_a_template_needs_none(path: Path) -> None:
    assert fallback(path, tokens(*CHATML), types(CONTROL, CONTROL), TEMPLATE) is None


def test_an_empty_template_is_none(path: Path) -> None:
    assert fallback(path, text_pair(CHAT_TEMPLATE, ""), tokens(*CHATML), types(CONTROL, CONTROL)) == "chatml"


def test_tokens_that_llama_cpp_does_not_find_by_their_spelling_are_no_delimiters(path: Path) -> None:
    assert fallback(path, tokens(*CHATML), types(CONTROL, NORMAL)) == "plain"


@pytest.mark.parametrize(
    "pairs",
    [
        (),
        (tokens(*CHATML),),
        (types(CONTROL, CONTROL),),
        (tokens(*CHATML), types(CONTROL)),
        (tokens(*CHATML), array_pair("tokenizer.ggml.token_type", 10, 2, bytes(16))),
    ],
    ids=["nothing", "no types", "no tokens", "too few types", "types of 64 bits"],
)
def test_a_vocabulary_without_token_types_has_the_plain_format(path: Path, pairs: tuple[bytes, ...]) -> None:
    assert fallback(path, *pairs) == "plain"


def test_types_may_stand_before_the_tokens(path: Path) -> None:
    assert fallback(path, types(CONTROL, CONTROL, stored_as=4), tokens(*CHATML)) == "chatml"


def test_delimiters_are_found_anywhere_in_a_vocabulary_larger_than_the_window(path: Path) -> None:
    words = ["x" * (number % 50) for number in range(40_000)]
    vocabulary = tokens("<|turn>", *words, "<turn|>")
    assert fallback(path, vocabulary, types(CONTROL, *[NORMAL] * len(words), CONTROL)) == "gemma4"


def test_a_template_is_found_wherever_its_key_is_cut(path: Path) -> None:
    for padding in range(64):
        assert fallback(path, text_pair("general.name", "x" * padding), TEMPLATE, chunk=64) is None


def test_a_template_after_the_searched_bytes_is_found_in_the_header(path: Path) -> None:
    assert fallback(path, TEMPLATE, searched=0) is None


def test_a_file_with_a_template_is_not_read_as_a_header(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_header", lambda path: pytest.fail(f"{path} was read"))
    assert fallback(path, tokens(*CHATML), types(CONTROL, CONTROL), TEMPLATE) is None


def test_a_damaged_file_is_an_error(path: Path) -> None:
    path.write_bytes(b"GGUF")
    with pytest.raises(GgufError, match="not a usable GGUF"):
        fallback_of_file(path)
    with pytest.raises(GgufError, match="cannot be read"):
        fallback_of_file(path.with_name("gone"))


def test_a_file_that_was_cut_after_its_header_was_read_is_an_error(path: Path) -> None:
    path.write_bytes(header(types(CONTROL, CONTROL), tokens(*CHATML)))
    known = read_header(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(GgufError, match="changed while it was read"):
        fallback_of_header(path, known)


@needs_samples
@pytest.mark.parametrize(("family", "expected"), [("qwen", "chatml"), ("gemma", "gemma4")])
def test_the_published_vocabularies_have_the_formats_of_their_families(
    path: Path, family: str, expected: TurnFormat
) -> None:
    published = vocabulary_file(family).read_bytes()
    assert CHAT_TEMPLATE.encode() in published
    path.write_bytes(published.replace(CHAT_TEMPLATE.encode(), b"x" * len(CHAT_TEMPLATE)))

    assert fallback_of_file(vocabulary_file(family)) is None
    assert fallback_of_file(path) == expected

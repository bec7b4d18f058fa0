from pathlib import Path

import pytest
from gguf_bytes import array_pair, header, number_pair, text
from hypothesis import given
from hypothesis import strategies as st

from localrouter.gguf.fim import has_fim_tokens
from localrouter.gguf.header import GgufError, read_header
from localrouter.gguf.turn_format import TOKENS

QWEN = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
NUMBERS = [
    number_pair(f"tokenizer.ggml.fim_{name}_token_id", number) for number, name in enumerate(("pre", "suf", "mid"))
]


def tokens(*names: str) -> bytes:
    return array_pair(TOKENS, 8, len(names), b"".join(map(text, names)))


def has_fim(folder: Path, *pairs: bytes) -> bool:
    path = folder / "m.gguf"
    path.write_bytes(header(*pairs))
    return has_fim_tokens(path, read_header(path))


@pytest.mark.parametrize("names", [QWEN, ("▁<PRE>", "▁<SUF>", "▁<MID>"), ("<PRE>", "<fim_suffix>", "<|middle|>")])
def test_the_tokens_are_found_by_their_texts(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert has_fim(tmp_path, tokens("a", *names, "b"))


@pytest.mark.parametrize("names", [QWEN[:2], QWEN[1:], ("a", "b"), ("<|FIM_PREFIX|>", *QWEN[1:]), ()])
def test_two_of_the_tokens_are_not_enough(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert not has_fim(tmp_path, tokens(*names))


def test_the_tokens_are_found_by_their_numbers(tmp_path: Path) -> None:
    assert has_fim(tmp_path, tokens("x", "y", "z"), *NUMBERS)


def test_a_deprecated_key_and_a_text_add_up(tmp_path: Path) -> None:
    assert has_fim(tmp_path, tokens(QWEN[1], "y", QWEN[2]), number_pair("tokenizer.ggml.prefix_token_id", 1))


def test_a_number_outside_of_the_vocabulary_names_no_token(tmp_path: Path) -> None:
    assert not has_fim(tmp_path, tokens("x", "y"), *NUMBERS)


def test_a_file_without_a_vocabulary_has_none(tmp_path: Path) -> None:
    assert not has_fim(tmp_path)
    assert not has_fim(tmp_path, *NUMBERS)


@given(st.binary(max_size=64))
def test_a_vocabulary_of_numbers_has_none(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    numbers = array_pair(TOKENS, 0, len(content), content)
    assert not has_fim(tmp_path_factory.mktemp("fim"), numbers)


def test_a_file_that_becomes_shorter_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(header(tokens("a", "b")))
    known = read_header(path)
    path.write_bytes(b"GGUF")
    with pytest.raises(GgufError, match="changed while it was read"):
        has_fim_tokens(path, known)

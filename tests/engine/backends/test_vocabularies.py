"""Tokenizing with the real vocabularies of Qwen and Gemma, against the counts that llama.cpp publishes with them."""

import json
from pathlib import Path

import pytest
from real_vocabularies import VOCABULARIES, needs_samples, vocabulary_file

from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.engine.generation_request import Grammar, Segment
from localrouter.engine.grammar.constraint import Grammars
from localrouter.engine.output.detokenizer import Detokenizer
from localrouter.load_options import LoadOptions

SEPARATOR = "\n__ggml_vocab_test__\n"
pytestmark = needs_samples


@pytest.fixture(scope="module", params=list(VOCABULARIES))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def backend(family: str, small_models: dict[str, Path]) -> LlamaBackend:
    return LlamaBackend(str(small_models[family]), LoadOptions(cells=512, max_sequences=2, threads=1))


def golden(family: str) -> list[tuple[str, list[int]]]:
    """Return text and tokens of every published case."""
    vocabulary = vocabulary_file(family)
    texts = Path(f"{vocabulary}.inp").read_text(encoding="utf-8").split(SEPARATOR)
    lines = Path(f"{vocabulary}.out").read_text().split("\n")
    return [(text, [int(token) for token in line.split()]) for text, line in zip(texts, lines, strict=False)]


def plain(backend: LlamaBackend, text: str) -> list[int]:
    """Return the tokens of plain text, without the beginning-of-text token of the model."""
    tokens = backend.tokenize([Segment(text, control=False)])
    empty = backend.tokenize([])
    return tokens[len(empty) :]


def test_every_published_case_is_tokenized_alike(backend: LlamaBackend, family: str) -> None:
    cases = golden(family)

    assert len(cases) > 40
    assert [plain(backend, text) for text, _ in cases] == [tokens for _, tokens in cases]


def test_every_case_comes_back_as_it_was(backend: LlamaBackend, family: str) -> None:
    for text, tokens in golden(family):
        detokenizer = Detokenizer()
        back = "".join(detokenizer.feed(backend.piece(token)) for token in tokens) + detokenizer.flush()
        assert back == text


def test_a_control_token_is_one_token_only_where_the_template_writes_it(backend: LlamaBackend) -> None:
    for text in backend.info.control_tokens[:8]:
        assert len(backend.tokenize([Segment(text, control=True)])) - len(backend.tokenize([])) <= 1
        assert len(plain(backend, text)) > 1


def test_text_of_a_user_is_no_special_token(backend: LlamaBackend) -> None:
    """Gemma's calls and quotes are tokens of the vocabulary's own definition, which llama.cpp finds in plain text."""
    marks = backend.info.special_tokens
    for mark in marks:
        written = plain(backend, f"a {mark} b{mark}{mark}")
        assert not set(marks.values()) & set(written)
        assert b"".join(map(backend.piece, written)) == f"a {mark} b{mark}{mark}".encode()


def test_text_of_a_template_is_a_special_token(backend: LlamaBackend, family: str) -> None:
    expected = {
        "qwen": {"<|im_start|>"},
        "gemma": {"<|tool_call>", "<tool_call|>", '<|"|>', "<|channel>", "<channel|>"},
    }
    marks = backend.info.special_tokens

    assert expected[family] <= marks.keys()
    for mark in expected[family]:
        assert backend.tokenize([Segment(mark, control=True)], begin=False) == [marks[mark]]


def test_an_output_by_a_grammar_is_tokenized_as_the_model_would(backend: LlamaBackend) -> None:
    text = "The quick brown fox jumps over the lazy dog. Ünïcödé 12345"
    grammars = Grammars(backend.grammar_vocabulary)
    constraint = grammars.constraint(Grammar(f"start: {json.dumps(text, ensure_ascii=False)}"))

    tokens = []
    while not constraint.is_complete:
        token = constraint.allowed()
        assert isinstance(token, int)
        constraint.take(token)
        tokens.append(token)

    assert tokens == plain(backend, text)


def test_the_beginning_of_text_is_left_out_where_it_is_not_asked_for(backend: LlamaBackend, family: str) -> None:
    text = [Segment("hi", control=True)]
    begin = backend.tokenize([])

    assert backend.tokenize(text) == begin + backend.tokenize(text, begin=False)
    assert len(begin) == (family == "gemma")


def test_the_beginning_of_text_is_there_once_where_the_model_wants_it(backend: LlamaBackend, family: str) -> None:
    begin = backend.info.bos_token
    written = backend.tokenize([Segment(f"{begin}hi", control=True)])
    left_out = backend.tokenize([Segment("hi", control=True)])

    assert (written == left_out) is (family == "gemma")

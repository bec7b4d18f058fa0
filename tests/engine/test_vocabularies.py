"""Tokenizing with the real vocabularies of Qwen and Gemma, against the counts that llama.cpp publishes with them."""

from pathlib import Path

import pytest
from real_vocabularies import VOCABULARIES, needs_shared, vocabulary_file

from localrouter.engine.detokenizer import Detokenizer
from localrouter.engine.llama.backend import LlamaBackend
from localrouter.engine.messages import LoadOptions, Segment

SEPARATOR = "\n__ggml_vocab_test__\n"
pytestmark = needs_shared


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


def test_the_beginning_of_text_is_there_once_where_the_model_wants_it(backend: LlamaBackend, family: str) -> None:
    begin = backend.info.bos_token
    written = backend.tokenize([Segment(f"{begin}hi", control=True)])
    left_out = backend.tokenize([Segment("hi", control=True)])

    assert (written == left_out) is (family == "gemma")

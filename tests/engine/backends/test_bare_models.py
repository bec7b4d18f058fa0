"""A model without a chat template: the worker reports its turn format, and recognises the end of a turn."""

from pathlib import Path

import pytest
from bare_models import number_of, write_bare_model

from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.gguf.turn_format import DELIMITERS, TurnFormat, fallback_of_file
from localrouter.load_options import LoadOptions

OPTIONS = LoadOptions(threads=1, cells=256, max_sequences=1, extra_buffers="off")


@pytest.mark.parametrize("turns", ["chatml", "gemma4", "gemma", "plain"])
def test_the_worker_and_the_header_agree_on_the_format(tmp_path: Path, turns: TurnFormat) -> None:
    path = write_bare_model(tmp_path, turns)
    backend = LlamaBackend(str(path), OPTIONS)
    assert (backend.info.chat_template, backend.info.template_source) == (None, f"fallback {turns}")
    assert fallback_of_file(path) == turns
    backend.close()


@pytest.mark.parametrize("turns", ["chatml", "gemma4", "gemma"])
def test_the_end_of_a_turn_ends_an_output_also_where_llama_cpp_has_no_such_end_token(
    tmp_path: Path, turns: TurnFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llama_cpp.llama_cpp.llama_vocab_is_eog", lambda *_: False)
    backend = LlamaBackend(str(write_bare_model(tmp_path, turns)), OPTIONS)
    begin, end = (number_of(text, turns) for text in DELIMITERS[turns])
    assert (backend.is_end(begin), backend.is_end(end)) == (False, True)
    assert backend.grammar_vocabulary().ends == [end]
    backend.close()


def test_a_template_of_the_manifest_leaves_the_ends_to_llama_cpp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llama_cpp.llama_cpp.llama_vocab_is_eog", lambda *_: False)
    backend = LlamaBackend(str(write_bare_model(tmp_path, "gemma")), OPTIONS, "{{ messages[0].content }}")
    assert backend.info.template_source == "manifest"
    assert not backend.is_end(number_of("<end_of_turn>", "gemma"))
    backend.close()

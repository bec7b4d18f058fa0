import os
from pathlib import Path

import pytest
from gguf_bytes import SAMPLE, TENSORS, array_pair, header, text, text_pair

from localrouter.gguf.header import CHAT_TEMPLATE
from localrouter.weights import header_cache
from localrouter.weights.build_location import Found
from localrouter.weights.header_cache import HeaderCache


def written(folder: Path, content: bytes) -> Found:
    path = folder / "m.gguf"
    path.write_bytes(content)
    return Found(str(path), len(content))


def test_the_summary_is_that_of_the_header(tmp_path: Path) -> None:
    names = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")
    vocabulary = array_pair("tokenizer.ggml.tokens", 8, 3, b"".join(map(text, names)))
    summary = HeaderCache().summary(written(tmp_path, header(text_pair(CHAT_TEMPLATE, "{{ a }}"), vocabulary)))
    assert summary is not None
    assert (summary.chat_template, summary.has_fim) == ("{{ a }}", True)


def test_a_header_is_read_once_until_its_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []

    def read(path: Path) -> None:
        reads.append(path)

    monkeypatch.setattr(header_cache, "_summary", read)
    cache, found = HeaderCache(), written(tmp_path, SAMPLE)
    cache.summary(found)
    cache.summary(found)
    assert len(reads) == 1
    os.utime(found.path, ns=(1, 1))
    cache.summary(found)
    assert len(reads) == 2


@pytest.mark.parametrize("content", [b"", b"GGUF", TENSORS[:60], b"no GGUF at all", SAMPLE[:-20]])
def test_a_broken_header_has_no_summary(tmp_path: Path, content: bytes) -> None:
    assert HeaderCache().summary(written(tmp_path, content)) is None


def test_a_file_that_is_gone_has_no_summary(tmp_path: Path) -> None:
    assert HeaderCache().summary(Found(str(tmp_path / "gone.gguf"), 3)) is None

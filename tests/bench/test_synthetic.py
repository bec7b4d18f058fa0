"""Synthetic models: the right shape, the same every time, and llama.cpp and our worker take them."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from gguf import GGUFReader

from benchmarks.real_vocabulary import VocabularyError, copied
from localrouter.bench import inprocess
from localrouter.bench.load.load_generator import run
from localrouter.bench.servers import bench_server
from localrouter.bench.synthetic import model_writer, synthetic_vocabulary
from localrouter.bench.synthetic.model_shapes import SHAPES, HybridShape, SyntheticShape, WindowShape
from localrouter.bench.synthetic.model_writer import synthetic_model, write_model
from localrouter.bench.synthetic.synthetic_vocabulary import CONTROL, made_up
from localrouter.bench.synthetic.tensor_layout import size_of, tensors_of
from localrouter.bench.workloads import Dialogue
from localrouter.chat.prompt.fallback_template import CHATML
from localrouter.errors import ConfigError

SMALL = {
    "qwen3": SyntheticShape("qwen3", 2, 64, 2, 1, 32, 64, context=512, vocabulary=1024),
    "qwen35moe": HybridShape(
        "qwen35moe", 4, 64, 2, 1, 32, 64, 512, 1024, experts=4, expert_feed_forward=32, state=32, groups=1, time_steps=2
    ),
    "gemma4": WindowShape("gemma4", 6, 64, 2, 1, 64, 64, 512, 1024, window=32, window_head=32),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "localrouter" / "bench"


@pytest.mark.parametrize("arch", SMALL)
def test_every_architecture_loads_and_generates(arch: str) -> None:
    model = synthetic_model(arch, SMALL[arch])

    assert inprocess.engine_rate(model, sequences=2, tokens=4, threads=1) > 0


def test_a_server_answers_with_it() -> None:
    model = synthetic_model("small", SMALL["qwen3"])
    model = model.rename(model.with_name("demo.gguf"))  # a name that the shipped manifest has too
    with bench_server.localrouter(model, threads=1) as server:
        figures = run(server.endpoint, [Dialogue(["Hello", "And?"], 6), Dialogue(["Hello"], 6)])
        held = server.memory

    assert (figures.streams, figures.broken, figures.flaw) == (3, 0, None)
    assert held is not None
    assert min(held) > 1 << 20


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_file(cache: Path) -> None:
    first = synthetic_model("small", SMALL["qwen3"], seed=1)
    content = first.read_bytes()
    first.unlink()

    assert synthetic_model("small", SMALL["qwen3"], seed=1).read_bytes() == content
    assert synthetic_model("small", SMALL["qwen3"], seed=2) != first
    assert len(list(cache.iterdir())) == 2


def test_what_lies_in_the_cache_is_not_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    path = synthetic_model("small", SMALL["qwen3"])
    monkeypatch.setattr(model_writer, "write_model", lambda *_, **__: pytest.fail("written again"))

    assert synthetic_model("small", SMALL["qwen3"]) == path


def test_an_interrupted_write_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path, *_: object, **__: object) -> None:
        path.write_bytes(b"GGUF")
        raise KeyboardInterrupt

    monkeypatch.setattr(model_writer, "write_model", interrupted)
    with pytest.raises(KeyboardInterrupt):
        synthetic_model("small", SMALL["qwen3"])

    assert list(cache.iterdir()) == []


def test_it_is_told_how_much_is_written() -> None:
    told: list[int] = []
    model = synthetic_model("small", SMALL["qwen3"], report=told.append)

    assert sum(told) == size_of(SMALL["qwen3"]) <= model.stat().st_size


def test_a_model_that_the_disk_has_no_room_for_is_not_begun(cache: Path) -> None:
    with pytest.raises(ConfigError, match="this model needs"):
        synthetic_model("large", replace(SMALL["qwen3"], feed_forward=1 << 36))

    assert list(cache.iterdir()) == []


def test_a_vocabulary_can_be_copied_from_another_file(tmp_path: Path) -> None:
    words = copied(synthetic_model("small", SMALL["qwen3"]))
    model = tmp_path / "other.gguf"
    write_model(model, "other", replace(SMALL["qwen3"], vocabulary=words.size), words, seed=0)

    written = GGUFReader(model)
    assert written.fields["tokenizer.ggml.tokens"].contents() == made_up(1024).fields["tokenizer.ggml.tokens"]
    assert written.fields[synthetic_vocabulary.TEMPLATE].contents() == CHATML
    assert written.fields["qwen3.vocab_size"].contents() == 1024


def test_a_file_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.gguf").write_bytes(b"no GGUF at all, but long enough to be read")

    for file in (tmp_path / "no.gguf", tmp_path / "missing.gguf"):
        with pytest.raises(VocabularyError, match="cannot be read"):
            copied(file)


@pytest.mark.parametrize("size", [1024, 4000])
def test_a_made_up_vocabulary_has_its_size_and_no_token_twice(size: int) -> None:
    tokens = made_up(size).fields["tokenizer.ggml.tokens"]

    assert isinstance(tokens, list)
    assert len(tokens) == len(set(tokens)) == size
    assert tuple(tokens[-3:]) == CONTROL


def test_every_merge_builds_a_token() -> None:
    fields = made_up(1024).fields
    tokens, merges = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.merges"]

    assert isinstance(tokens, list)
    assert isinstance(merges, list)
    assert all(str(merge).replace(" ", "") in tokens for merge in merges)


def test_a_vocabulary_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="needs at least"):
        made_up(300)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("qwen3-tiny", 42.0),
        ("qwen3-0.6b", 596.0),
        ("qwen3-4b", 4022.5),
        ("qwen35moe-tiny", 48.1),
        ("qwen35moe-35b-a3b", 33954.7),
        ("gemma4-tiny", 43.6),
    ],
)
def test_shapes_have_the_parameters_of_their_models(name: str, millions: float) -> None:
    count = 0
    for tensor in tensors_of(SHAPES[name]):
        size = 1
        for dimension in tensor.dimensions:
            size *= dimension
        count += size

    assert count / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.mark.parametrize("name", SHAPES)
def test_no_tensor_comes_twice(name: str) -> None:
    names = Counter(tensor.name for tensor in tensors_of(SHAPES[name]))

    assert set(names.values()) == {1}

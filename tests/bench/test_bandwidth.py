"""What memory allows: how much of a model a token reads, and what the machine can read."""

from dataclasses import replace
from pathlib import Path

import pytest

from localrouter.bench import bandwidth
from localrouter.bench.bandwidth import bytes_per_token, cache_bytes, limit_of
from localrouter.bench.results.measure import LIMIT
from localrouter.bench.synthetic.model_shapes import SHAPES, HybridShape, SyntheticShape
from localrouter.bench.synthetic.model_writer import metadata_of
from localrouter.bench.synthetic.synthetic_vocabulary import made_up
from localrouter.bench.synthetic.tensor_layout import size_of, tensors_of
from localrouter.gguf.header import GgufHeader, parse_header
from localrouter.gguf.writer import Q8_0, MetadataEntry, header_of

SMALL = SyntheticShape("qwen3", 2, 64, 2, 1, 32, 64, context=512, vocabulary=1024)


def header_for(shape: SyntheticShape, *more: MetadataEntry) -> GgufHeader:
    table = [*(tensor.entry for tensor in tensors_of(shape)), *more]
    header = parse_header(header_of(metadata_of("small", shape, made_up(1024)), table), name="small")
    assert isinstance(header, GgufHeader)
    return header


def test_an_embedding_that_is_the_output_too_is_read_whole() -> None:
    assert bytes_per_token([header_for(SMALL)]) == size_of(SMALL)


def test_beside_an_output_layer_of_its_own_it_is_not_read() -> None:
    assert bytes_per_token([header_for(SMALL, MetadataEntry("output.weight", (1024, 64), Q8_0))]) == size_of(SMALL)


def test_a_table_that_is_only_looked_up_does_not_count() -> None:
    assert bytes_per_token(
        [header_for(SMALL, MetadataEntry("per_layer_token_embd.weight", (1024, 64), Q8_0))]
    ) == size_of(SMALL)


def test_of_the_experts_only_those_that_work_on_a_token_are_read() -> None:
    shape = replace(SHAPES["qwen35moe-tiny"], vocabulary=1024)
    assert isinstance(shape, HybridShape)
    experts = sum(tensor.entry.size for tensor in tensors_of(shape) if "_exps." in tensor.name)

    assert bytes_per_token([header_for(shape)]) == size_of(shape) - experts * 6 // 8


def test_no_token_reads_a_layer_that_llama_cpp_does_not_load() -> None:
    shape = replace(SHAPES["qwen35moe-tiny"], vocabulary=1024)
    extra = MetadataEntry("blk.8.ffn_up_exps.weight", (8, 128, 256), Q8_0)

    assert bytes_per_token([header_for(shape, extra)]) == bytes_per_token([header_for(shape)])


def test_all_parts_of_a_split_model_count() -> None:
    rest = header_for(SMALL)
    first = replace(rest, tensors=())

    assert bytes_per_token([first, rest]) == size_of(SMALL)


@pytest.mark.parametrize(("caches", "binding"), [(0, True), (1 << 30, False)])
def test_the_limit_binds_only_what_the_caches_do_not_hold(
    monkeypatch: pytest.MonkeyPatch, caches: int, binding: bool
) -> None:
    monkeypatch.setattr(bandwidth, "cache_bytes", lambda: caches)
    monkeypatch.setattr(bandwidth, "bandwidth", lambda _cores, _size: 1e9)

    limit, bound = limit_of([header_for(SMALL)], cores=1)
    assert limit.samples == {LIMIT: [1e9 / size_of(SMALL)]}
    assert (bound, "not binding" in limit.meaning) == (binding, not binding)


def test_memory_is_read_by_several_threads() -> None:
    assert bandwidth.bandwidth(2, 1 << 20) > 1e6


def test_far_more_is_read_than_the_caches_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "ram", lambda: (16 << 30, 32 << 30))
    assert [bandwidth._enough(size << 20) >> 20 for size in (0, 512, 4096)] == [1024, 2048, 4096]


def test_pieces_of_a_cache_add_up_and_are_counted_once(tmp_path: Path) -> None:
    caches = [("0", "2", "0", "2048K"), ("0", "3", "0-1", "32M"), ("1", "3", "0-1", "32M"), ("2", "3", "2", "32M")]
    for cpu, level, shared, size in caches:
        folder = tmp_path / f"cpu{cpu}" / "cache" / f"index{level}"
        folder.mkdir(parents=True)
        for name, value in {"level": level, "shared_cpu_list": shared, "size": size}.items():
            (folder / name).write_text(f"{value}\n")

    assert cache_bytes(tmp_path) == 64 << 20
    assert cache_bytes(tmp_path / "nothing") == 0

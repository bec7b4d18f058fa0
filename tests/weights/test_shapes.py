"""The best facts there are of a build: its file, its header on the hub, the manifest, its size."""

from pathlib import Path

import pytest
from gguf_bytes import header, number_pair, tensor, text_pair

from localrouter.errors import HubUnreachable
from localrouter.memory.shape import shape_of_size
from localrouter.weights.build_location import Found
from localrouter.weights.build_shapes import ShapeCache, shape_of_build, shape_of_file
from localrouter.weights.manifest.lockfile import Lock
from localrouter.weights.manifest.manifest import Build
from localrouter.weights.manifest.pin import Pin, PinnedFile
from localrouter.weights.registry import RegistryEntry

LAYERS = (text_pair("general.architecture", "qwen3"), number_pair("qwen3.block_count", 2))
WHOLE = header(*LAYERS, tensors=2) + tensor("blk.0.a", (8,)) + tensor("blk.1.a", (8,), 0, 32)
FIRST, SECOND = header(*LAYERS, tensors=1) + tensor("blk.0.a", (8,)), header(tensors=1) + tensor("blk.1.a", (8,))
TOLD = {"full_attention_layers": 3, "kv_heads": 1, "head_len": 64}


class FakeHub:
    """A hub with the same bytes in every file; None: it cannot be reached."""

    def __init__(self, content: bytes | None) -> None:
        self.content = content

    def read_range(self, repo: str, file: str, commit: str, start: int, stop: int) -> bytes:
        if self.content is None:
            raise HubUnreachable("no answer")
        return self.content[start:stop]


def local(folder: Path, name: str = "a.gguf", **facts: object) -> RegistryEntry:
    return RegistryEntry("m", Build.model_validate({"name": "A", "path": name} | facts), folder / "m.toml")


def remote(**facts: object) -> RegistryEntry:
    build = {"name": "A", "repo": "o/n", "file": "none.gguf", "revision": "a" * 40} | facts
    return RegistryEntry("m", Build.model_validate(build), Path("m.toml"))


def test_a_file_that_is_here_tells_most(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(WHOLE)
    shape = shape_of_build(local(tmp_path, shape=TOLD), FakeHub(None), pytest.fail)
    assert (shape.source, len(shape.layers), shape.weights) == ("file", 2, 64)


def test_all_parts_of_a_split_file_are_read(tmp_path: Path) -> None:
    for number, content in enumerate((FIRST, SECOND), 1):
        (tmp_path / f"a-0000{number}-of-00002.gguf").write_bytes(content)
    shape = shape_of_build(local(tmp_path, "a-00001-of-00002.gguf"))
    assert [layer.weights for layer in shape.layers] == [32, 32]


def test_the_hub_is_asked_for_what_is_not_here() -> None:
    shape = shape_of_build(remote(shape=TOLD, size=9), FakeHub(WHOLE), pytest.fail)
    assert (shape.source, len(shape.layers)) == ("hub", 2)


@pytest.mark.parametrize(("content", "why"), [(None, "m"), (b"no GGUF at all", "none.gguf")])
def test_where_the_hub_does_not_help_the_manifest_s_facts_are_taken(content: bytes | None, why: str) -> None:
    told: list[str] = []
    shape = shape_of_build(remote(shape=TOLD, size=4000), FakeHub(content), told.append)
    assert (shape.source, len(shape.layers), shape.weights) == ("manifest", 3, 4000)
    [said] = told
    assert why in said
    assert said.endswith("; the shape in the manifest is used")


def test_without_a_hub_the_manifest_is_all_there_is() -> None:
    assert shape_of_build(remote(shape=TOLD, size=4000)).source == "manifest"
    assert shape_of_build(remote(size=4000)) == shape_of_size(4000)
    assert shape_of_build(remote(shape=TOLD)).weights == 0


def test_the_parts_of_a_pin_count_together() -> None:
    files = tuple(PinnedFile(f"big-0000{number}-of-00002.gguf", 40, "0" * 64) for number in (1, 2))
    build = Build(name="big", repo="o/n", file=files[0].name)
    entry = RegistryEntry("m", build, Path("m.toml"), Lock({"big": Pin("o/n", "a" * 40, files)}))
    assert shape_of_build(entry).weights == 80


def test_a_file_whose_header_makes_no_sense_is_as_large_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"x" * 123)
    assert shape_of_file(Found(str(tmp_path / "a.gguf"), 123)) == shape_of_size(123)
    assert shape_of_build(local(tmp_path)) == shape_of_size(123)
    told = shape_of_build(local(tmp_path, shape=TOLD))
    assert (told.source, told.weights) == ("manifest", 123)


def test_a_file_is_read_again_only_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(header(text_pair("general.architecture", "qwen3")))
    cache, found = ShapeCache(), Found(str(path), 100)
    first = cache.shape(found)
    assert cache.shape(found) is first
    path.write_bytes(b"no GGUF at all")
    assert cache.shape(found) == shape_of_size(100)

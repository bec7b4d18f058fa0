from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import pytest
from gguf_bytes import SAMPLE, header, number_pair, tensor, text_pair
from hub_cache import FIRST, HubCache

from localrouter.errors import ConfigError, ModelNotDownloaded, ModelNotFound
from localrouter.memory.machine import Machine
from localrouter.weights import build_location, build_shapes
from localrouter.weights.catalog import BuildState, Catalog, ResolvedModel
from localrouter.weights.manifest.manifest import Build, Manifest, Model, Overrides

MANIFEST = f"""
version = 1
[models.big]
description = "Three sizes."
context = 4096
[[models.big.builds]]
name = "Big-9B"
variant = "9b"
repo = "them/Big-9B-GGUF"
file = "Big 9B.gguf"
revision = "{FIRST}"
size = 9
license = "mit"
[[models.big.builds]]
name = "Big-4B"
variant = "4b"
repo = "them/Big-4B-GGUF"
file = "Big-4B.gguf"
size = 4
[[models.big.builds]]
name = "Big-2B"
variant = "2b"
path = "Big-2B.gguf"
[models.local]
builds = [{{ name = "Local", path = "secret/Local.gguf", size = 5 }}]
[models.shipped]
builds = [{{ name = "Shipped", asset = "shipped.gguf" }}]
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a manifest and nothing else."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(build_location, "ASSETS", tmp_path / "assets")
    (tmp_path / "manifest.toml").write_text(MANIFEST)
    return tmp_path


@pytest.fixture
def hub(home: Path) -> HubCache:
    return HubCache(home / "hub")


def catalog(home: Path, **extra: str) -> Catalog:
    return Catalog.read(home / "manifest.toml", extra)


def gguf(home: Path, name: str) -> str:
    (home / name).parent.mkdir(exist_ok=True)
    (home / name).write_bytes(SAMPLE)
    return str(home / name)


def absence(home: Path, name: str, extra: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ModelNotDownloaded) as caught:
        catalog(home, **(extra or {})).resolve(name)
    assert (caught.value.param, caught.value.reason) == ("model", "model_not_downloaded")
    assert str(home) not in caught.value.message
    assert "secret" not in caught.value.message
    return caught.value.message


def test_an_alias_is_its_largest_build_on_disk(home: Path, hub: HubCache) -> None:
    (home / "Big-2B.gguf").write_bytes(b"22")
    assert catalog(home).resolve("big").model == "Big-2B"
    pointer = hub.add("them/Big-9B-GGUF", "Big 9B.gguf", b"x" * 9)
    found = catalog(home).resolve("big")
    assert found.reason.startswith("the largest of 2 on disk that fits in ")
    assert replace(found, reason="") == ResolvedModel(
        alias="big",
        model="Big-9B",
        backend="llama",
        path=str(pointer),
        license="mit",
        size=9,
        description="Three sizes.",
        overrides=Overrides(context=4096),
    )


def small_machine(ram: int) -> Callable[[], Machine]:
    return lambda: Machine(ram, ram)


def sized(home: Path, name: str, weights: int) -> Path:
    """A GGUF with one layer of so many bytes, which are a hole."""
    header_of = header(text_pair("general.architecture", "qwen3"), number_pair("qwen3.block_count", 1), tensors=1)
    (home / name).write_bytes(header_of + tensor("blk.0.a", (weights // 4,)))
    with (home / name).open("r+b") as file:
        file.truncate(weights + 4096)
    return home / name


def two_sizes(home: Path, ram: int) -> Catalog:
    for name, weights in (("Large", 4 << 30), ("Small", 1 << 30)):
        sized(home, f"{name}.gguf", weights)
    builds = tuple(Build(name=name, path=f"{name}.gguf") for name in ("Small", "Large"))
    manifest = Manifest(version=1, models={"two": Model(builds=builds)})
    return Catalog(manifest, home, machine=small_machine(ram))


@pytest.mark.parametrize(
    ("gigabytes", "model", "reason"),
    [
        (16, "Large", "the largest of 2 on disk that fits in 11 GB"),
        (4, "Small", "the largest of 2 on disk that fits in 2.7 GB"),
        (1, "Small", "the smallest of 2 on disk; none fits in 0.7 GB"),
    ],
)
def test_the_machine_decides_which_build_answers(home: Path, gigabytes: int, model: str, reason: str) -> None:
    there = two_sizes(home, gigabytes * 10**9)
    found = there.resolve("two")
    assert (found.model, found.reason) == (model, reason)
    [entry] = there.entries()
    assert entry.chosen is not None
    assert (entry.chosen.model, entry.choice.reason if entry.choice else None) == (model, reason)


def test_who_asks_for_one_build_gets_it_whatever_fits(home: Path) -> None:
    found = two_sizes(home, 10**9).resolve("Large")
    assert (found.model, found.reason) == ("Large", "")


def test_a_file_that_changes_is_looked_at_again(home: Path) -> None:
    there = two_sizes(home, 16 * 10**9)
    assert there.resolve("two").model == "Large"
    sized(home, "Small.gguf", 5 << 30)
    assert there.resolve("two").model == "Small"


def test_the_machine_is_looked_at_once_and_only_for_a_choice(home: Path) -> None:
    looks = []

    def look() -> Machine:
        looks.append(1)
        return Machine(10**9, 10**9)

    builds = tuple(Build(name=name, path=f"{name}.gguf") for name in ("Small", "Large"))
    there = Catalog(Manifest(version=1, models={"two": Model(builds=builds)}), home, machine=look)
    sized(home, "Small.gguf", 1 << 20)
    there.resolve("two")
    assert not looks
    sized(home, "Large.gguf", 1 << 21)
    there.resolve("two")
    sized(home, "Large.gguf", 1 << 22)
    there.resolve("two")
    assert len(looks) == 1


@pytest.mark.parametrize("name", ["big:4b", "Big-4B"])
def test_one_build_can_be_asked_for_by_variant_and_by_full_name(home: Path, hub: HubCache, name: str) -> None:
    hub.add("them/Big-9B-GGUF", "Big 9B.gguf", b"x" * 9)
    hub.add("them/Big-4B-GGUF", "Big-4B.gguf", b"x" * 4)
    assert catalog(home).resolve(name).model == "Big-4B"


def test_a_file_that_appears_later_is_served(home: Path, hub: HubCache) -> None:
    there = catalog(home)
    with pytest.raises(ModelNotDownloaded):
        there.resolve("big:4b")
    pointer = hub.add("them/Big-4B-GGUF", "Big-4B.gguf", b"x" * 4)
    assert there.resolve("big:4b").path == str(pointer)


def test_a_file_that_vanishes_is_not_served_any_more(home: Path) -> None:
    there = catalog(home, mine=gguf(home, "secret/Mine.gguf"))
    there.resolve("mine")
    (home / "secret" / "Mine.gguf").unlink()
    with pytest.raises(ModelNotDownloaded, match="Its file is not at the path in the operator's settings"):
        there.resolve("mine")


def test_a_damaged_build_does_not_answer_for_its_alias(home: Path, hub: HubCache) -> None:
    hub.add("them/Big-9B-GGUF", "Big 9B.gguf", b"cut")
    (home / "Big-2B.gguf").write_bytes(b"22")
    assert catalog(home).resolve("big").model == "Big-2B"


def test_an_alias_with_nothing_on_disk_names_the_command_for_the_smallest(home: Path) -> None:
    assert absence(home, "big") == (
        "No build of 'big' is on this machine. Fetch the smallest one with: localrouter pull Big-4B"
    )


def test_an_absent_build_names_the_command_that_brings_it(home: Path) -> None:
    assert absence(home, "Big-9B") == (
        "The model 'Big-9B' is not on this machine. Fetch it with: localrouter pull Big-9B"
    )


@pytest.mark.parametrize("name", ["big", "big:4b"])
def test_a_damaged_download_names_both_sizes_and_the_command_that_replaces_it(
    home: Path, hub: HubCache, name: str
) -> None:
    hub.add("them/Big-4B-GGUF", "Big-4B.gguf", b"x" * 1234)
    message = absence(home, name)
    assert "Big-4B cannot be used: its file has 1,234 bytes instead of 4" in message
    assert message.endswith("Fetch it again with: localrouter pull Big-4B")


def test_a_missing_local_file_is_told_without_its_path(home: Path) -> None:
    assert absence(home, "local") == (
        "The model 'local' is not on this machine. Its file is not at the path in the operator's settings."
    )


def test_a_damaged_local_file_is_told_without_its_path(home: Path) -> None:
    gguf(home, "secret/Local.gguf")
    message = absence(home, "local")
    assert f"Local cannot be used: its file has {len(SAMPLE)} bytes instead of 5" in message
    assert message.endswith("Restore the original file.")


def test_a_missing_asset_means_a_broken_installation(home: Path) -> None:
    assert "install it again" in absence(home, "shipped")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nix", "The model 'nix' does not exist. There are: big, local, shipped."),
        ("", "The model '' does not exist. There are: big, local, shipped."),
        ("big:70b", "The model 'big:70b' does not exist. Builds of 'big': big:9b, big:4b, big:2b."),
        ("Bog-4B", "The model 'Bog-4B' does not exist. There are: big, local, shipped. Did you mean 'Big-4B'?"),
        ("x/Bog-4B", "The model 'x/Bog-4B' does not exist. There are: big, local, shipped. Did you mean 'Big-4B'?"),
    ],
)
def test_an_unknown_name_lists_the_names_there_are(home: Path, name: str, message: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        catalog(home).resolve(name)
    assert caught.value.message.startswith(message)
    assert caught.value.param == "model"


def test_an_endless_name_is_not_repeated_in_full(home: Path) -> None:
    with pytest.raises(ModelNotFound) as caught:
        catalog(home).resolve("x" * 1_000_000)
    assert len(caught.value.message) < 300


def test_an_extra_file_adds_an_alias(home: Path) -> None:
    path = gguf(home, "Mine-Q8_0.gguf")
    there = catalog(home, mine=path)
    assert there.resolve("mine") == there.resolve("Mine-Q8_0")
    found = there.resolve("mine")
    assert (found.alias, found.model, found.path, found.size) == ("mine", "Mine-Q8_0", path, len(SAMPLE))


def test_an_extra_file_replaces_an_alias_and_its_overrides(home: Path) -> None:
    there = catalog(home, big=gguf(home, "Mine.gguf"))
    assert there.resolve("big").model == "Mine"
    assert there.resolve("big").overrides == Overrides()
    for gone in ("big:9b", "Big-9B"):
        with pytest.raises(ModelNotFound):
            there.resolve(gone)


def test_the_full_name_of_an_extra_file_goes_before_the_manifest_s(home: Path) -> None:
    path = gguf(home, "Big-2B.gguf")
    other = gguf(home, "elsewhere/Big-2B.gguf")
    there = catalog(home, mine=other)
    assert there.resolve("Big-2B").path == other
    assert there.resolve("big:2b").path == path


def test_echo_needs_no_file(home: Path) -> None:
    found = catalog(home, e="builtin:echo?step_ms=5").resolve("e")
    assert (found.backend, found.path, found.size, found.license) == ("echo", "step_ms=5", 0, None)
    assert found.model == "localrouter-echo?step_ms=5"


def test_two_aliases_of_one_file_are_one_model(home: Path) -> None:
    path = gguf(home, "mine.gguf")
    there = catalog(home, other=path, mine=path)
    assert there.resolve("mine").path == there.resolve("other").path
    assert there.resolve("mine").alias == "mine"


def test_two_files_of_one_name_are_refused(home: Path) -> None:
    with pytest.raises(ConfigError, match="the files of 'a' and 'b' are both called 'M'") as caught:
        catalog(home, a=gguf(home, "x/M.gguf"), b=gguf(home, "y/M.gguf"))
    assert "rename" in (caught.value.hint or "")


def test_a_file_named_like_the_alias_of_another_model_is_refused(home: Path) -> None:
    with pytest.raises(ConfigError, match="'local' is an alias and also the full name of 'a'"):
        catalog(home, a=gguf(home, "local.gguf"))


def test_a_relative_manifest_survives_a_change_of_directory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = gguf(home, "Big-2B.gguf")
    monkeypatch.chdir(home)
    there = Catalog.read(Path("manifest.toml"))
    monkeypatch.chdir("/")
    assert there.resolve("big:2b").path == path


def test_entries_say_what_is_on_disk_and_what_would_answer(home: Path, hub: HubCache) -> None:
    hub.add("them/Big-4B-GGUF", "Big-4B.gguf", b"too long")
    (home / "Big-2B.gguf").write_bytes(b"22")
    there = catalog(home)
    big, local, _ = there.entries()
    assert [build.state for build in big.builds] == [
        BuildState.NOT_DOWNLOADED,
        BuildState.WRONG_SIZE,
        BuildState.ON_DISK,
    ]
    assert [build.size for build in big.builds] == [9, 8, 2]
    assert big.chosen is not None
    assert big.chosen.model == there.resolve("big").model == "Big-2B"
    assert (local.chosen, local.builds[0].state) == (None, BuildState.MISSING)


def test_entries_stand_in_the_manifest_s_order_and_added_ones_at_the_end(home: Path) -> None:
    entries = catalog(home, a="builtin:echo", local="builtin:echo").entries()
    assert [entry.alias for entry in entries] == ["big", "local", "shipped", "a"]
    assert entries[1].builds == entries[3].builds


def test_a_choice_that_was_made_is_made_again_without_reading_files(
    home: Path, hub: HubCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("them/Big-4B-GGUF", "Big-4B.gguf", b"x" * 4)
    (home / "Big-2B.gguf").write_bytes(SAMPLE)
    there = catalog(home)
    first = there.resolve("big")
    monkeypatch.setattr(build_shapes, "read_headers", None)

    assert there.resolve("big") == first

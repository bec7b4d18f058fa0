from pathlib import Path

import pytest
from hub_cache import FIRST, SECOND

from localrouter.errors import ConfigError, ManifestError
from localrouter.weights import registry
from localrouter.weights.catalog import Catalog
from localrouter.weights.manifest.lockfile import Lock, lock_path, write_lock
from localrouter.weights.manifest.pin import Pin, PinnedFile
from localrouter.weights.registry import Registry, user_manifest_path

SHIPPED = f"""
version = 1
[models.big]
description = "Shipped."
context = 4096
builds = [
  {{ name = "Big-9B", variant = "9b", repo = "them/Big", file = "9.gguf", revision = "{FIRST}" }},
  {{ name = "Big-4B", variant = "4b", repo = "them/Big", file = "4.gguf" }},
]
[models.other]
builds = [{{ name = "Other", path = "other.gguf" }}]
"""
PIN = Pin("them/Big", SECOND, (PinnedFile("4.gguf", 4, "e" * 64),), "mit")


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a shipped manifest and a user without one."""
    path = tmp_path / "shipped" / "model_manifest.toml"
    path.parent.mkdir()
    path.write_text(SHIPPED)
    monkeypatch.setattr(registry, "default_manifest_path", lambda: path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return path


@pytest.mark.usefixtures("shipped")
def test_an_own_manifest_that_cannot_be_looked_at_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.lstat", refuse)

    assert registry.manifest_paths()[-1] == user_manifest_path()


@pytest.fixture
def own(shipped: Path) -> Path:
    """Where the user's manifest goes."""
    del shipped
    user_manifest_path().parent.mkdir(parents=True)
    return user_manifest_path()


def write(path: Path, models: str) -> None:
    path.write_text("version = 1\n" + models)


def names(read: Registry, alias: str) -> list[str]:
    return [build.name for build in read.manifest.models[alias].builds]


def test_the_user_s_manifest_is_where_xdg_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert user_manifest_path() == tmp_path / "localrouter" / "model_manifest.toml"


@pytest.mark.parametrize("value", ["", "relative"])
def test_without_a_usable_xdg_it_is_below_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", value)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert user_manifest_path() == tmp_path / ".config" / "localrouter" / "model_manifest.toml"


def test_a_user_without_a_manifest_has_the_shipped_one(shipped: Path) -> None:
    read = Registry.read()
    assert list(read.models) == ["big", "other"]
    assert {entry.manifest for entry in read.entries} == {shipped}


def test_a_build_of_the_user_goes_before_the_shipped_ones_of_its_alias(own: Path) -> None:
    write(own, '[models.big]\nbuilds = [{ name = "Mine", path = "mine.gguf" }]')
    read = Registry.read()
    assert names(read, "big") == ["Mine", "Big-9B", "Big-4B"]
    assert read.models["big"].description == "Shipped."
    assert read.models["big"].context == 4096


def test_settings_of_the_user_go_before_the_shipped_ones(own: Path) -> None:
    write(own, '[models.big]\ncontext = 512\ndescription = "Ours."\nbuilds = [{ name = "Mine", path = "mine.gguf" }]')
    assert (Registry.read().models["big"].context, Registry.read().models["big"].description) == (512, "Ours.")


def test_a_new_alias_is_added_behind_the_shipped_ones(own: Path) -> None:
    write(own, '[models.mine]\nbuilds = [{ name = "Mine", path = "mine.gguf" }]')
    assert list(Registry.read().models) == ["big", "other", "mine"]


def test_a_shipped_build_of_the_same_full_name_gives_way(own: Path) -> None:
    write(own, '[models.mine]\nbuilds = [{ name = "Other", path = "mine.gguf" }]')
    read = Registry.read()
    assert list(read.models) == ["big", "mine"]
    assert read.find("Other")[0].manifest == own


def test_a_shipped_build_of_the_same_variant_keeps_its_full_name(own: Path) -> None:
    write(own, '[models.big]\nbuilds = [{ name = "Mine", variant = "4b", path = "mine.gguf" }]')
    read = Registry.read()
    assert [entry.build.name for entry in read.find("big:4b")] == ["Mine"]
    assert [entry.build.name for entry in read.find("Big-4B")] == ["Big-4B"]


def test_a_relative_path_starts_at_the_manifest_that_has_it(own: Path, shipped: Path) -> None:
    write(own, '[models.big]\nbuilds = [{ name = "Mine", path = "mine.gguf" }]')
    paths = {build.path for model in Registry.read().manifest.models.values() for build in model.builds if build.path}
    assert paths == {str(own.parent / "mine.gguf"), str(shipped.parent / "other.gguf")}


def test_a_named_manifest_stands_alone(own: Path, tmp_path: Path) -> None:
    write(own, '[models.big]\nbuilds = [{ name = "Mine", path = "mine.gguf" }]')
    write(tmp_path / "m.toml", '[models.only]\nbuilds = [{ name = "Only", path = "only.gguf" }]')
    assert list(Registry.read(tmp_path / "m.toml").models) == ["only"]


def test_the_catalog_serves_what_the_user_added(own: Path) -> None:
    (own.parent / "mine.gguf").write_bytes(b"1234")
    write(own, '[models.mine]\nbuilds = [{ name = "Mine", path = "mine.gguf" }]')
    assert Catalog.read().resolve("mine").path == str(own.parent / "mine.gguf")


@pytest.mark.parametrize(
    ("models", "words"),
    [
        (
            '[models.big]\nbuild = 1\nbuilds = [{ name = "M", path = "m" }]',
            r"config.*:3: models\.big\.build: unknown key",
        ),
        (
            '[models.x]\nbuilds = [{ name = "big", path = "m" }]',
            r"config.*models\.x: the build 'big' has the name of a",
        ),
    ],
)
def test_an_error_names_the_file_that_is_wrong(own: Path, models: str, words: str) -> None:
    write(own, models)
    with pytest.raises(ManifestError, match=words):
        Registry.read()


def test_an_alias_of_the_user_that_is_a_shipped_full_name_is_refused(own: Path, shipped: Path) -> None:
    shipped.write_text(SHIPPED.replace("Other", "small-name"))
    write(own, '[models.small-name]\nbuilds = [{ name = "M", path = "m" }]')
    with pytest.raises(ManifestError, match="this alias is the full name of a shipped build of 'other'"):
        Registry.read()


def test_the_lock_beside_a_manifest_completes_its_builds(shipped: Path) -> None:
    write_lock(lock_path(shipped), Lock({"Big-4B": PIN}))
    build = Registry.read().manifest.models["big"].builds[1]
    assert (build.revision, build.size, build.sha256, build.license) == (SECOND, 4, "e" * 64, "mit")


def test_a_lock_that_contradicts_its_manifest_is_an_error_with_both(shipped: Path) -> None:
    write_lock(lock_path(shipped), Lock({"Big-9B": PIN}))
    with pytest.raises(ManifestError, match=f"revision is {FIRST} in the manifest and {SECOND} in the lock"):
        _ = Registry.read().manifest


def test_the_shipped_lock_says_nothing_of_a_build_of_the_user(own: Path, shipped: Path) -> None:
    write_lock(lock_path(shipped), Lock({"Big-4B": PIN}))
    write(own, '[models.big]\nbuilds = [{ name = "Big-4B", repo = "us/Big", file = "4.gguf" }]')
    assert Registry.read().find("Big-4B")[0].pin is None


@pytest.mark.parametrize(
    ("name", "found"), [("big", ["Big-9B", "Big-4B"]), ("big:4b", ["Big-4B"]), ("Big-9B", ["Big-9B"])]
)
def test_builds_are_found_by_every_name(shipped: Path, name: str, found: list[str]) -> None:
    assert [entry.build.name for entry in Registry.read(shipped).find(name)] == found


def test_names_that_overlap_give_each_build_once(shipped: Path) -> None:
    read = Registry.read(shipped)
    assert [entry.build.name for entry in read.select(["big:4b", "big"])] == ["Big-4B", "Big-9B"]
    assert len(read.select([])) == 3


def test_an_unknown_name_is_an_error_with_the_names_there_are(shipped: Path) -> None:
    with pytest.raises(ConfigError, match=r"'nix' does not exist\. There are: big, other"):
        Registry.read(shipped).find("nix")


def test_an_own_alias_may_have_settings_of_a_shipped_one_without_builds(own: Path) -> None:
    write(own, '[models.big]\nsystem = "Be brief."\nkv_type = "q8_0"\n')
    big = Registry.read().models["big"]
    assert (big.system, big.kv_type, big.context, len(big.builds)) == ("Be brief.", "q8_0", 4096, 2)
    assert Catalog.read().find("big").defaults.system == "Be brief."


def test_an_own_alias_without_builds_that_is_not_shipped_is_an_error(own: Path) -> None:
    write(own, '[models.mine]\nsystem = "Be brief."\n')
    with pytest.raises(ManifestError, match=r":2: models\.mine\.builds: this key is missing"):
        Registry.read()


def test_an_own_table_of_sampling_is_merged_key_by_key_and_switched_on(shipped: Path, own: Path) -> None:
    table = "[models.big.sampling]\nenabled = false\ntemperature = 1.0\ntop_k = 20\n[models.other]"
    shipped.write_text(SHIPPED.replace("[models.other]", table))
    assert Catalog.read().find("big").defaults.sampling == ()
    assert Catalog.read(recommended_sampling=True).find("big").defaults.sampling == (
        ("temperature", 1.0),
        ("top_k", 20),
    )
    write(own, "[models.big.sampling]\ntop_k = 5\n")
    assert Catalog.read().find("big:9b").defaults.sampling == (("temperature", 1.0), ("top_k", 5))
    write(own, "[models.big.sampling]\nenabled = false\ntop_k = 5\n")
    assert Catalog.read().find("big").defaults.sampling == ()


def test_a_file_in_place_of_an_alias_has_none_of_its_defaults(own: Path) -> None:
    write(own, '[models.big]\nsystem = "Be brief."\n')
    assert Catalog.read(extra={"big": "builtin:echo"}).find("big").defaults.system is None

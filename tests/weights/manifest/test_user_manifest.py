from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrouter.errors import ConfigError, ManifestError
from localrouter.weights.manifest.manifest import Build, load_manifest
from localrouter.weights.manifest.user_manifest import add_build, check_alias, remove_build, replace_build

MINE = Build(name="Mine-Q8_0", variant="8b", path='/home/me/"odd" name.gguf', license="mit")
REMOTE = Build(name="Far", repo="o/Far", file="Far.gguf", revision="a" * 40, size=5_000, sha256="b" * 64)
COMMENTED = """\
version = 1 # one

# About a.
[models.a]
description = '''
[not a table]
'''

# The first.
[[models.a.builds]]
name = "One"
path = "1"
# The second.
[[models.a.builds]] # two
name = "Two"
path = "2"

# About b.
[models.b]
builds = [{ name = "Three", path = "3" }, { name = "Four", path = "4" }]

# The end.
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "model_manifest.toml"


@pytest.fixture
def commented(tmp_path: Path) -> Path:
    path = tmp_path / "model_manifest.toml"
    path.write_text(COMMENTED)
    return path


def test_the_file_is_made_when_it_is_not_there(path: Path) -> None:
    add_build(path, "mine", MINE, "A file.")
    model = load_manifest(path).models["mine"]
    assert (model.builds, model.description) == ((MINE,), "A file.")
    assert path.read_text().startswith("#")


def test_a_second_build_is_appended_to_its_alias(path: Path) -> None:
    add_build(path, "qwen3.5", MINE)
    add_build(path, "other", Build(name="x", path="x"))
    add_build(path, "qwen3.5", REMOTE)
    assert load_manifest(path).models["qwen3.5"].builds == (MINE, REMOTE)


def test_what_stands_there_stays_as_it_is(commented: Path) -> None:
    add_build(commented, "a", MINE)
    assert commented.read_text().startswith(COMMENTED)


def test_builds_in_one_line_cannot_be_appended_to_and_the_line_is_named(commented: Path) -> None:
    with pytest.raises(ManifestError, match=r"toml:20: models\.b\.builds: cannot append"):
        add_build(commented, "b", MINE)
    assert commented.read_text() == COMMENTED


def test_an_addition_that_makes_no_manifest_changes_nothing(commented: Path, path: Path) -> None:
    with pytest.raises(ManifestError, match="'Two' is already the name of a build"):
        add_build(commented, "new", Build(name="Two", path="x"))
    assert commented.read_text() == COMMENTED
    with pytest.raises(ManifestError):
        add_build(path, "no alias", Build(name="x", path="x"))
    assert not path.exists()


def test_a_manifest_that_is_wrong_already_is_not_touched(commented: Path) -> None:
    commented.write_text("version = 2\n[models]\n")
    with pytest.raises(ManifestError, match="only version 1"):
        add_build(commented, "a", MINE)
    assert commented.read_text() == "version = 2\n[models]\n"


def test_a_build_is_taken_out_and_every_comment_stays(commented: Path) -> None:
    remove_build(commented, "One")
    text = commented.read_text()
    assert [build.name for build in load_manifest(commented).models["a"].builds] == ["Two"]
    assert all(line in text for line in COMMENTED.splitlines() if line.startswith("#"))


def test_the_last_build_takes_its_alias_along(commented: Path) -> None:
    remove_build(commented, "Two")
    remove_build(commented, "One")
    assert list(load_manifest(commented).models) == ["b"]
    assert "# About b." in commented.read_text()


def test_a_build_in_one_line_with_others_is_left_to_a_person(commented: Path) -> None:
    with pytest.raises(ManifestError, match=r"toml:20: models\.b: 'Three' cannot be removed"):
        remove_build(commented, "Three")
    assert commented.read_text() == COMMENTED


def test_what_was_added_and_removed_leaves_a_manifest(path: Path) -> None:
    add_build(path, "mine", MINE, "A file.")
    remove_build(path, "Mine-Q8_0")
    assert load_manifest(path).models == {}
    add_build(path, "mine", MINE, "A file.")
    assert load_manifest(path).models["mine"].builds == (MINE,)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ManifestError, match="the model manifest cannot be written"):
        add_build(tmp_path / "file" / "m.toml", "a", MINE)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), unique=True, max_size=6), st.data())
def test_removing_gives_what_was_there_before_adding(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("rounds") / "m.toml"
    for alias, name in pairs:
        add_build(path, alias, Build(name=f"B-{alias}{name}", path=name), f"About {alias}")
    for alias, name in data.draw(st.permutations(pairs)):
        others = [build for model in load_manifest(path).models.values() for build in model.builds]
        remove_build(path, f"B-{alias}{name}")
        left = [build for model in load_manifest(path).models.values() for build in model.builds]
        assert left == [build for build in others if build.name != f"B-{alias}{name}"]


@pytest.mark.parametrize("alias", ["", "Big", "a b", "-a", "ä"])
def test_what_cannot_be_an_alias_is_refused(alias: str) -> None:
    with pytest.raises(ConfigError, match="is not a valid name"):
        check_alias(alias)


SPLIT = Build(name="Split", path="/S-00001-of-00002.gguf", size=5, part_sha256=("a" * 64, "b" * 64))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (MINE, MINE.model_copy(update={"size": 5_000, "sha256": "c" * 64})),
        (MINE.model_copy(update={"size": 5_000, "sha256": "c" * 64}), MINE.model_copy(update={"size": 6})),
        (SPLIT, SPLIT.model_copy(update={"size": 7, "part_sha256": ("c" * 64, "d" * 64)})),
        (SPLIT, SPLIT.model_copy(update={"part_sha256": None, "license": "mit"})),
        (SPLIT, SPLIT.model_copy(update={"path": "/S.gguf", "part_sha256": None, "sha256": "e" * 64})),
    ],
)
def test_a_build_is_changed_in_its_place(commented: Path, before: Build, after: Build) -> None:
    add_build(commented, "a", before)
    add_build(commented, "a", REMOTE)
    manifest = load_manifest(commented)
    replace_build(commented, after)
    builds = manifest.models["a"].builds
    assert load_manifest(commented).models["a"].builds == tuple(after if each == before else each for each in builds)
    assert [line for line in COMMENTED.split("\n") if line not in commented.read_text().split("\n")] == []


def test_keys_that_are_new_come_in_the_usual_order_behind_the_path(path: Path) -> None:
    add_build(path, "a", MINE)
    changed = MINE.model_copy(update={"size": 1, "sha256": "c" * 64})
    replace_build(path, changed)
    whole = path.read_text()
    path.unlink()
    add_build(path, "a", changed)
    assert whole == path.read_text()


def test_a_build_in_one_line_is_left_to_a_person(commented: Path) -> None:
    with pytest.raises(ManifestError, match="'Three' cannot be changed automatically"):
        replace_build(commented, Build(name="Three", path="3", size=5))
    assert commented.read_text() == COMMENTED


DEFAULTS = """\
version = 1

# Settings of a shipped alias.
[models.big.sampling] # on
top_k = 5

[models.a]
system = "Be brief."
# About the table.
[models.a.sampling]
temperature = 0.5 # cool

[[models.a.builds]]
name = "One"
path = "1"
"""


def test_defaults_of_aliases_and_their_comments_stay(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(DEFAULTS)
    add_build(path, "a", MINE)
    add_build(path, "big", REMOTE)
    assert path.read_text().startswith(DEFAULTS)
    remove_build(path, "Far")
    assert "[models.big.sampling]" not in path.read_text()  # an alias goes with its last build
    replace_build(path, Build(name="One", path="2"))
    remove_build(path, "Mine-Q8_0")
    assert "[models.a.sampling]\ntemperature = 0.5 # cool" in path.read_text()


def test_a_build_of_another_alias_is_changed_beside_settings_without_builds(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(DEFAULTS)
    remove_build(path, "One")
    assert path.read_text().split("\n")[:5] == DEFAULTS.split("\n")[:5]

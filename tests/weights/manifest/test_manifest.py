import hashlib
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import localrouter
from localrouter.config import EngineSettings
from localrouter.errors import ManifestError
from localrouter.weights.build_location import ASSETS
from localrouter.weights.manifest.manifest import Manifest, Overrides, default_manifest_path, load_manifest
from localrouter.weights.manifest.model_shape import ManifestShape
from training import pin

ONE = 'version = 1\n[models.a]\n[[models.a.builds]]\nname = "A-Q8_0"\n'
SPLIT = 'version=1\n[models.a]\ntensor_split={}\nbuilds=[{{name="x",path="x"}}]'
NUMBERS = "must be an array of numbers, not all of them 0, as [3, 1]"
HUB = ONE + 'repo = "them/A-GGUF"\nfile = "A-Q8_0.gguf"\n'


def load(directory: Path, text: str) -> Manifest:
    path = directory / "manifest.toml"
    path.write_text(text)
    return load_manifest(path)


def refusal(directory: Path, text: str) -> str:
    with pytest.raises(ManifestError) as caught:
        load(directory, text)
    return caught.value.message.removeprefix(str(directory / "manifest.toml"))


def test_the_shipped_manifest_is_right() -> None:
    manifest = load_manifest(default_manifest_path())
    assert list(manifest.models) == ["demo", "qwen", "gemma"]
    assert [build.asset for build in manifest.models["demo"].builds] == ["demo.gguf"]


def test_the_shipped_manifest_pins_the_demo_model_that_is_shipped() -> None:
    content = (ASSETS / "demo.gguf").read_bytes()
    [build] = load_manifest(default_manifest_path()).models["demo"].builds
    assert (build.size, build.sha256) == (len(content), hashlib.sha256(content).hexdigest()), "python -m training.pin"


def test_a_newly_trained_demo_model_is_pinned_and_nothing_else_changes(tmp_path: Path) -> None:
    before = default_manifest_path().read_text()
    (tmp_path / "m.toml").write_text(before)
    (tmp_path / "demo.gguf").write_bytes(b"new")
    pin.write(tmp_path / "demo.gguf", tmp_path / "m.toml")
    [build] = load_manifest(tmp_path / "m.toml").models["demo"].builds
    assert (build.size, build.sha256) == (3, hashlib.sha256(b"new").hexdigest())
    after = (tmp_path / "m.toml").read_text()
    assert len([None for old, new in zip(before.split("\n"), after.split("\n"), strict=True) if old != new]) == 2


def test_training_does_not_pass_over_a_manifest_without_a_pin(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_text(default_manifest_path().read_text().replace('asset = "demo.gguf"\n', ""))
    with pytest.raises(ValueError, match="no size and sha256"):
        pin.write(ASSETS / "demo.gguf", tmp_path / "m.toml")


LAYERS = {
    "35b-a3b-ud": 40,
    "35b-a3b": 40,
    "27b": 64,
    "9b": 32,
    "4b": 32,
    "2b": 24,
    "0.8b": 24,
    "26b-a4b": 30,
    "12b": 48,
    "e4b": 42,
    "e2b": 35,
    "1b": 26,
    "270m": 18,
}
"""`num_hidden_layers` of each model's config.json."""


def test_every_shipped_build_of_the_hub_tells_its_shape_with_all_its_layers() -> None:
    models = load_manifest(default_manifest_path()).models
    builds = [build for model in models.values() for build in model.builds if build.source == "hub"]
    layers = {build.variant: len(build.shape.of_size(10**9).layers) for build in builds if build.shape}
    assert layers == LAYERS


def test_layers_without_a_cache_of_their_own_weigh_and_keep_nothing() -> None:
    shape = ManifestShape(full_attention_layers=1, kv_heads=1, head_len=64, shared_layers=2).of_size(400)
    assert [(layer.weights, layer.keys) for layer in shape.layers] == [(100, 64), (100, 0), (100, 0)]


@pytest.mark.parametrize("alias", ["qwen", "gemma"])
def test_shipped_builds_are_pinned_and_stand_from_large_to_small(alias: str) -> None:
    builds = load_manifest(default_manifest_path()).models[alias].builds
    assert all(build.source == "hub" and build.sha256 and build.variant for build in builds)
    sizes = [build.size or 0 for build in builds]
    assert sizes == sorted(sizes, reverse=True)
    assert min(sizes) > 0


def test_the_name_of_a_shipped_build_is_the_name_of_its_file() -> None:
    models = load_manifest(default_manifest_path()).models
    builds = [build for model in models.values() for build in model.builds if build.file]
    assert all(build.file == f"{build.name}.gguf" for build in builds)


def test_the_packaged_manifest_goes_before_the_one_of_a_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "localrouter"
    package.mkdir()
    monkeypatch.setattr(localrouter, "__file__", str(package / "__init__.py"))
    (tmp_path / "model_manifest.toml").touch()
    assert default_manifest_path() == tmp_path / "model_manifest.toml"
    (package / "model_manifest.toml").touch()
    assert default_manifest_path() == package / "model_manifest.toml"


def test_keeps_the_order_of_the_file(tmp_path: Path) -> None:
    two = 'builds=[{name="3",path="3"},{name="2",path="2"}]'
    text = f'version=1\n[models.z]\nbuilds=[{{name="1",path="1"}}]\n[models.a]\n{two}'
    manifest = load(tmp_path, text)
    assert list(manifest.models) == ["z", "a"]
    assert [build.name for build in manifest.models["a"].builds] == ["3", "2"]


def test_an_alias_may_override_engine_settings(tmp_path: Path) -> None:
    settings = {
        "context": 4096,
        "gpu_layers": "all",
        "device": "Vulkan1,Vulkan0",
        "tensor_split": [3, 0.5],
        "require_gpu": True,
        "extra_buffers": "off",
        "kv_type": "q8_0",
        "flash_attention": "on",
        "swa_full": "off",
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    text = "\n".join(["version=1", "[models.a]", *lines, 'builds=[{name="b",path="c"}]'])

    assert load(tmp_path, text).models["a"].overrides == Overrides.model_validate(settings)
    assert set(settings) == set(Overrides.model_fields) <= set(EngineSettings.model_fields)


def test_a_build_may_have_another_chat_template_than_its_file(tmp_path: Path) -> None:
    text = 'version=1\n[models.a]\nbuilds=[{name="1",path="x",chat_template="mended.jinja"},{name="2",path="y"}]'
    assert [build.chat_template for build in load(tmp_path, text).models["a"].builds] == ["mended.jinja", None]


def test_every_kind_of_source_is_told_apart(tmp_path: Path) -> None:
    text = 'version=1\n[models.a]\nbuilds=[{name="1",path="x"},{name="2",asset="x"},{name="3",repo="o/n",file="d/x"}]'
    assert [build.source for build in load(tmp_path, text).models["a"].builds] == ["path", "asset", "hub"]


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_bytes(b"\xef\xbb\xbf" + HUB.replace("\n", "\r\n").encode())
    assert list(load_manifest(tmp_path / "m.toml").models) == ["a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version = 2\n[models]", ":1: version: only version 1 of the format is supported"),
        ("version = true\n[models]", ":1: version: only version 1 of the format is supported"),
        ("[models]", ":1: version: this key is missing"),
        ("version = 1\nmodels = 3", ":2: models: must be a table"),
        ("version = 1\n\n[other]\n[models]", ":3: other: unknown key"),
        ("version = 1\n[models.a]\n", ":2: models.a.builds: this key is missing"),
        ("version = 1\n[models.a]\nbuilds = 1", ":3: models.a.builds: must be an array of tables"),
        ("version = 1\n[models.a]\nbuilds = []", ":3: models.a.builds: an alias needs at least one build"),
        (ONE, ":3: models.a.builds[0]: has no source; set one of asset, path, or repo and file"),
        (ONE + 'path="x"\nasset="y"', ":3: models.a.builds[0]: has two sources, asset and path; keep one"),
        (ONE + 'repo="o/n"', ":3: models.a.builds[0]: repo and file must be set together"),
        (ONE + 'path="x"\nfile="y"', ":3: models.a.builds[0]: repo and file must be set together"),
        (
            ONE + f'path="x"\nrevision="{"a" * 40}"',
            ":3: models.a.builds[0]: revision needs repo and file",
        ),
        (ONE + 'path="x"\ntensor_split=[1]', ":6: models.a.builds[0].tensor_split: unknown key"),
        (ONE + 'path="x"\nsizes=3', ":6: models.a.builds[0].sizes: unknown key"),
        (ONE + 'path="x"\nsize="3"', ":6: models.a.builds[0].size: input should be a valid integer"),
        (ONE + 'path="x"\nsizes=3\nfoo=4', ":6: models.a.builds[0].sizes: unknown key (and 1 more)"),
        (
            ONE + f'path="x-00001-of-00002.gguf"\nsha256="{"a" * 64}"',
            ":3: models.a.builds[0]: sha256 is the digest of one file; leave it out where the GGUF is split",
        ),
        (
            ONE + f'path="x.gguf"\npart_sha256=["{"a" * 64}"]',
            ":3: models.a.builds[0]: part_sha256 needs the path of a split GGUF",
        ),
        (
            ONE + f'path="x-00001-of-00002.gguf"\npart_sha256=["{"a" * 64}"]',
            ":3: models.a.builds[0]: part_sha256 has 1 digests for 2 parts",
        ),
        (HUB + "shape = { layers = 3 }", ":7: models.a.builds[0].shape.layers: unknown key"),
        (HUB + "shape = 3", ":7: models.a.builds[0].shape: must be a table"),
        (
            HUB + 'revision = "main"',
            ":7: models.a.builds[0].revision: must be a commit: 40 hexadecimal digits in lower case",
        ),
        (HUB + 'sha256 = "AB"', ":7: models.a.builds[0].sha256: must be 64 hexadecimal digits in lower case"),
        (
            ONE + 'path="x"\n[models.Big]\nbuilds=[{name="q",path="b"}]',
            ":6: models.Big: must be of the form [a-z0-9][a-z0-9._-]*",
        ),
        (
            HUB + '[[models.a.builds]]\nname = "A-Q8_0"\npath = "x"',
            ":8: models.a.builds[1].name: 'A-Q8_0' is already the name of a build of 'a'",
        ),
        (
            HUB + 'variant = "1b"\n[[models.a.builds]]\nname = "B"\nvariant = "1b"\npath = "x"',
            ":10: models.a.builds[1].variant: '1b' is already a variant of 'a'",
        ),
        (
            HUB + '[models.b]\nbuilds = [{ name = "a", path = "x" }]',
            ":2: models.a: this alias is also the full name of a build of 'b'",
        ),
        (
            'version=1\n[models.a]\ngpu_layers="some"\nbuilds=[{name="x",path="x"}]',
            ':3: models.a.gpu_layers: must be "auto", "all" or a number of layers',
        ),
        *((SPLIT.format(value), f":3: models.a.tensor_split: {NUMBERS}") for value in ("3", '"3,1"', "[]", "[0, 0]")),
        *(
            (SPLIT.format(value), ":3: models.a.tensor_split[1]: input should be a valid number")
            for value in ('[1, "3"]', "[1, true]")
        ),
        (SPLIT.format("[-1, 3]"), ":3: models.a.tensor_split[0]: input should be greater than or equal to 0"),
    ],
)
def test_a_mistake_is_named_with_line_and_key(tmp_path: Path, text: str, message: str) -> None:
    assert refusal(tmp_path, text) == message


def test_the_only_build_of_an_alias_may_be_called_like_it(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text('version = 1\n[models.mine]\nbuilds = [{ name = "mine", path = "mine.gguf" }]')

    [build] = load_manifest(path).models["mine"].builds

    assert build.name == "mine"


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("version = 1\n[models.a\n", ":2: this is not TOML"),
        ("version = 1\n[models.a]\n[models.a]\n", ":3: this is not TOML"),
        ("version = 1\nversion = 1\n", ":2: this is not TOML"),
        ("version = ", ":1: this is not TOML"),
        ("version = 1\nx = " + "[" * 10_000, ":2: this is not TOML"),
    ],
)
def test_toml_that_is_broken_or_says_things_twice_is_named_with_its_line(tmp_path: Path, text: str, start: str) -> None:
    assert refusal(tmp_path, text).startswith(start)


@pytest.mark.parametrize("file", ["../x", "/x", "a/../x", "a\\x", "a//x", "./x", "", "."])
def test_a_hub_file_stays_inside_its_repository(tmp_path: Path, file: str) -> None:
    assert ".file: must be a plain relative path" in refusal(tmp_path, ONE + f"repo = 'o/n'\nfile = '{file}'")


@pytest.mark.parametrize("repo", ["n", "o/n/m", "../n", "o/..", "o--x/n", "o/n ", "https://x/y"])
def test_a_repo_is_an_owner_and_a_name(tmp_path: Path, repo: str) -> None:
    assert ".repo: must be OWNER/NAME" in refusal(tmp_path, ONE + f'repo = "{repo}"\nfile = "x"')


@pytest.mark.parametrize("asset", ["../x", "a/x", ".x", ""])
def test_an_asset_is_a_plain_file_name(tmp_path: Path, asset: str) -> None:
    assert ".asset: must be the plain name of a file" in refusal(tmp_path, ONE + f'asset = "{asset}"')


@pytest.mark.parametrize("name", ["", " a", "a:b", "a\\nb", "x" * 256])
def test_a_build_s_name_can_stand_in_a_request(tmp_path: Path, name: str) -> None:
    text = f'version = 1\n[models.a]\nbuilds = [{{ name = "{name}", path = "x" }}]'
    assert "builds[0].name: a name is 1 to 255 printable characters" in refusal(tmp_path, text)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"nothing\.toml: the model manifest cannot be read: No such file"):
        load_manifest(tmp_path / "nothing.toml")


def test_bytes_that_are_not_utf_8_are_named_with_their_line(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_bytes(b"version = 1\n# \xff\n")
    with pytest.raises(ManifestError, match=re.escape("m.toml:2: this is not UTF-8")):
        load_manifest(tmp_path / "m.toml")


@given(cut=st.integers(0, len(HUB)), at=st.integers(0, len(HUB)), noise=st.text(max_size=5))
def test_any_damage_is_a_manifest_error_or_a_manifest(
    tmp_path_factory: pytest.TempPathFactory, cut: int, at: int, noise: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.toml"
    path.write_bytes((HUB[:at] + noise + HUB[at:cut]).encode("utf-8", "surrogatepass"))
    try:
        manifest = load_manifest(path)
    except ManifestError:
        return
    assert manifest.version == 1

"""What docs/models.md promises in its examples."""

import re
import tomllib
from pathlib import Path

from localrouter.schema.alias_defaults import AliasDefaults
from localrouter.weights.manifest.alias_sampling import AliasSampling
from localrouter.weights.manifest.manifest import Build, Manifest, Model, default_manifest_path, load_manifest
from localrouter.weights.missing_model import download_command

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text()


def test_the_example_manifests_are_right() -> None:
    whole, part = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert list(Manifest.model_validate(tomllib.loads(whole)).models) == ["house"]
    qwen = Manifest.model_validate(tomllib.loads("version = 1\n" + part)).models["qwen"]
    assert qwen.defaults() == AliasDefaults((("temperature", 0.7), ("top_k", 20)), "Answer in one paragraph.")


def test_the_command_for_a_first_model_is_the_one_that_localrouter_prints() -> None:
    [command] = re.findall(r"^\$ (localrouter pull .*)$", PAGE, re.MULTILINE)
    builds = load_manifest(default_manifest_path()).models["qwen"].builds
    assert command == download_command(builds[-1])


def test_every_key_of_a_build_is_described() -> None:
    described = set(re.findall(r"`(\w+)`", PAGE))
    assert set(Build.model_fields) <= described


def test_every_key_of_an_alias_and_of_its_sampling_is_described() -> None:
    described = set(re.findall(r"`(\w+)`", PAGE))
    assert set(Model.model_fields) | set(AliasSampling.model_fields) - {"enabled"} <= described
    assert "`enabled = true`" in PAGE

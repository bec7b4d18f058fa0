"""What docs/models.md promises in its examples."""

import re
import tomllib
from pathlib import Path

from localrouter.weights.manifest.manifest import Build, Manifest, default_manifest_path, load_manifest
from localrouter.weights.missing_model import download_command

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text()


def test_the_example_manifest_is_right() -> None:
    [example] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert list(Manifest.model_validate(tomllib.loads(example)).models) == ["house"]


def test_the_command_for_a_first_model_is_the_one_that_localrouter_prints() -> None:
    [command] = re.findall(r"^\$ (localrouter pull .*)$", PAGE, re.MULTILINE)
    builds = load_manifest(default_manifest_path()).models["qwen"].builds
    assert command == download_command(builds[-1])


def test_every_key_of_a_build_is_described() -> None:
    described = set(re.findall(r"`(\w+)`", PAGE))
    assert set(Build.model_fields) <= described

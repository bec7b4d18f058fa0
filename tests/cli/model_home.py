"""A machine for tests of commands: a hub cache, a manifest of its own, no user's manifest and no settings."""

import os
from collections.abc import Sequence
from pathlib import Path

import huggingface_hub.constants
import pytest
from click import Command
from click.testing import CliRunner, Result
from gguf_bytes import SAMPLE
from hub_cache import FIRST, HubCache

from localrouter.cli.exit_status import complain
from localrouter.errors import OperatorError
from localrouter.weights import registry

REPO, FILE = "them/Big-GGUF", "Big.gguf"
MANIFEST = f"""
version = 1
[models.big]
description = "Two sizes."
[[models.big.builds]]
name = "Big-9B"
variant = "9b"
repo = "{REPO}"
file = "{FILE}"
revision = "{FIRST}"
license = "mit"
[[models.big.builds]]
name = "Big-4B"
variant = "4b"
repo = "{REPO}"
file = "Four.gguf"
"""


class Home:
    """`manifest` is the shipped one, `own` is where the user's would be."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = HubCache(root / "hub")
        self.cache.root.mkdir()
        self.manifest = root / "shipped" / "model_manifest.toml"
        self.manifest.parent.mkdir()
        self.manifest.write_text(MANIFEST)
        self.own = root / "config" / "localrouter" / "model_manifest.toml"

    def gguf(self, name: str) -> Path:
        path = self.root / name
        path.write_bytes(SAMPLE)
        return path

    def run(self, command: Command, *arguments: str | Path, say: str | None = None) -> Result:
        """Run a command as the program does: an OperatorError is words and status 2."""
        words: Sequence[str] = [*map(str, arguments)]
        result = CliRunner().invoke(command, words, input=say)
        if isinstance(result.exception, OperatorError):
            return CliRunner().invoke(_refusing(result.exception))
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result


def _refusing(error: OperatorError) -> Command:
    def refuse() -> None:
        complain(error)
        raise SystemExit(2)

    return Command("refuse", callback=refuse)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in [name for name in os.environ if name.startswith("LOCALROUTER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")  # what --offline sets does not outlive the test
    there = Home(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(there.cache.root))
    monkeypatch.setattr(registry, "default_manifest_path", lambda: there.manifest)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return there

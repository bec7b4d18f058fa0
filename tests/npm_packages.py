"""Packages from npm, in a folder of the user's cache."""

import subprocess
from collections.abc import Iterable
from pathlib import Path

OPENAI = "openai@7.57.0"


def install_npm_packages(folder: Path, packages: Iterable[str]) -> None:
    """Install packages with their versions below `folder`/node_modules."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text("{}")
    install = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run([*install, *packages], cwd=folder, check=True)

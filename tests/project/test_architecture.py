"""ARCHITECTURE.md describes every package in a table, one row each, and names nothing that does not exist."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "localrouter"
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
MOST_BYTES = 10_240
PATHS_RELATIVE_TO = (ROOT, PACKAGE)


def test_the_table_of_packages_is_the_tree() -> None:
    section = PAGE.partition("\n## Packages\n")[2].partition("\n## ")[0]
    described = re.findall(r"^\| `([\w/]+)` \| \S", section, re.MULTILINE)
    packages = {path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("__init__.py")} - {"."}
    assert sorted(described) == sorted(packages)


def test_every_path_that_is_named_exists() -> None:
    paths = re.findall(r"`(\w+(?:/\w+)*(?:/|/\w+|\.py|/\w+\.py))`", PAGE)
    assert len(paths) > 20
    assert [path for path in paths if not any((folder / path).exists() for folder in PATHS_RELATIVE_TO)] == []


def test_the_page_is_short() -> None:
    assert len(PAGE.encode()) <= MOST_BYTES

"""ARCHITECTURE.md names every module, and only modules that exist.

Its section "## Modules" holds each path relative to `localrouter/` in backticks: `engine/ipc/worker.py`.
"""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "localrouter"


def test_the_module_list_is_the_tree() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    section = re.search(r"^## Modules$(.*?)(^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, "ARCHITECTURE.md has no section '## Modules'"
    named = re.findall(r"`([\w/]+\.py)`", section[1])
    modules = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}
    assert sorted(named) == sorted(modules)

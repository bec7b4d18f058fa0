"""Reader of `patterns.toml`: words, sentence patterns and answers of all training conversations."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

DATA: dict[str, Any] = tomllib.loads(Path(__file__).with_name("patterns.toml").read_text())

ABOUT_ME: str = DATA["answers"]["about_me"]
FALLBACK: str = DATA["answers"]["fallback"]
SMALL_TALK: dict[str, list[str]] = {entry["reply"]: entry["phrases"] for entry in DATA["small_talk"]}
CAPITAL_QUESTIONS: list[str] = DATA["capitals"]["questions"]


def patterns(section: str, name: str) -> list[str]:
    """Return the sentences under a name."""
    found: list[str] = DATA[section][name]
    return found


def words(section: str, name: str) -> list[str]:
    """Return the words of a block of words."""
    block: str = DATA[section][name]
    return block.split()

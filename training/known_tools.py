"""Tools that people like to try first, with requests in freer words than the open-ended generator makes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from training.lexicon import Lexicon, number
from training.patterns import DATA
from training.tool_case import Case, define

_FOLDERS = ("", "/tmp/", "docs/", "src/")
_ENDINGS = ("txt", "md", "csv", "py")
_LANGUAGES = ("Dutch", "French", "German", "Spanish", "Italian", "Polish", "Swedish", "Latin")


def known_case(rng: Random, lexicon: Lexicon) -> Case:
    """Sample one of the popular tools with new values."""
    entry = rng.choice(DATA["known_tools"])
    arguments: dict[str, Any] = {}
    properties: dict[str, Any] = {}
    for parameter in entry["parameters"]:
        choices, kind = parameter.split(":")
        argument = rng.choice(choices.split("|"))
        arguments[argument] = _value(rng, lexicon, kind)
        properties[argument] = {"type": "integer" if kind == "integer" else "string"}
    if rng.random() < 0.1 and "city" in properties:
        properties["unit"] = {"type": "string", "enum": ["celsius", "fahrenheit"]}
    name = rng.choice(entry["names"].split())
    request = rng.choice(entry["requests"]).format(*arguments.values())
    tool = define(name, rng.choice(entry["descriptions"]), properties)
    return Case(tool, request, arguments, frozenset(name.lower().split("_")))


def _value(rng: Random, lexicon: Lexicon, kind: str) -> Any:
    makers: dict[str, Callable[[], Any]] = {
        "place": lambda: lexicon.place(rng),
        "phrase": lambda: lexicon.phrase(rng, 1, 4),
        "path": lambda: f"{rng.choice(_FOLDERS)}{lexicon.noun(rng)}.{rng.choice(_ENDINGS)}",
        "ticker": lambda: lexicon.letters(rng, 4),
        "mail": lambda: rng.choice((lexicon.name(rng), f"{lexicon.invented(rng)}@{lexicon.noun(rng)}.com")),
        "sum": lambda: f"{number(rng)} {rng.choice('+-*/')} {number(rng)}",
        "language": lambda: rng.choice(_LANGUAGES),
        "integer": lambda: rng.randint(1, 100),
    }
    return makers[kind]()

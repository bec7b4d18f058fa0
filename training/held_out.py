"""Names, places, tools and sentences reserved for the evaluation, which the training does not have."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.turn import Tool

DATA: dict[str, Any] = tomllib.loads(Path(__file__).with_name("held_out.toml").read_text())
NAMES: list[str] = DATA["words"]["names"].split()
PLACES: list[str] = DATA["words"]["places"].split()
EXAM_WORDS = frozenset(word.lower() for word in (*NAMES, *PLACES, *DATA["words"]["tool_words"].split()))


def phrasings(name: str) -> list[str]:
    """Return sentences that are not in the training, by what they ask."""
    found: list[str] = DATA["phrasings"][name]
    return found


@dataclass(frozen=True)
class ToolQuestion:
    """Tools, a request in a pattern of values, and the call that is right; the argument values are patterns too."""

    tools: list[Tool]
    name: str
    request: str
    arguments: dict[str, str]
    integers: frozenset[str]

    def expected(self, **values: str) -> dict[str, Any]:
        """Return the right arguments for these values."""
        texts = {key: pattern.format(**values) for key, pattern in self.arguments.items()}
        return {key: int(text) if key in self.integers else text for key, text in texts.items()}


def _tool(name: str, description: str, properties: dict[str, str]) -> Tool:
    schema = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    function = {"name": name, "description": description, "parameters": {**schema, "required": list(properties)}}
    return {"type": "function", "function": function}


def single_tool_questions() -> list[ToolQuestion]:
    """Return questions with one tool, and a request for it."""
    made = []
    for row in DATA["tools"]["single"].strip().splitlines():
        name, description, parameters, request, values = (part.strip() for part in row.split(" | "))
        properties = dict(parameter.strip().split(":") for parameter in parameters.split(","))
        arguments = dict(zip(properties, (value.strip() for value in values.split(",")), strict=True))
        integers = frozenset(key for key, kind in properties.items() if kind == "integer")
        made.append(ToolQuestion([_tool(name, description, properties)], name, request, arguments, integers))
    return made


def similar_tool_questions() -> list[ToolQuestion]:
    """Return questions with three similar tools, and a request for one of them."""
    made = []
    for group in DATA["tools"]["similar"].strip().split("\n\n"):
        rows = [[part.strip() for part in row.split(" | ")] for row in group.splitlines()]
        argument = {"p": "region", "w": "name", "n": "number"}[rows[0][2].split("{")[1][0]]
        tools = [_tool(name, description, {argument: "string"}) for name, description, _ in rows]
        for name, _, request in rows:
            value = "{" + request.split("{")[1][0] + "}"
            made.append(ToolQuestion(tools, name, request, {argument: value}, frozenset()))
    return made

"""Tools of the generators: a meaning, a naming style, and a case with a request for the tool."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from training.turn import Tool

WORD = re.compile(r"[a-z]+")


@dataclass(frozen=True)
class Meaning:
    """What a tool does: a verb and the words of its noun."""

    verb: str
    noun: tuple[str, ...]

    @property
    def phrase(self) -> str:
        """Noun as in a sentence."""
        return " ".join(self.noun)

    @property
    def words(self) -> frozenset[str]:
        """All words of the tool's name."""
        return frozenset((self.verb, *self.noun))


@dataclass(frozen=True)
class Case:
    """A tool with a request that only this tool answers, and the call's arguments."""

    tool: Tool
    request: str
    arguments: dict[str, Any]
    words: frozenset[str]

    def fit(self, request: str) -> float:
        """How well the words of the tool's name match a request; words that are missing count a little against it."""
        said = set(WORD.findall(request.lower()))
        return len(self.words & said) - 0.01 * len(self.words - said)

    @property
    def name(self) -> str:
        """The tool's name."""
        name: str = self.tool["function"]["name"]
        return name


@dataclass(frozen=True)
class Style:
    """How the tools of one list write their names."""

    join: str
    noun_first: bool = False
    bare: bool = False
    prefix: str = ""
    suffix: str = ""

    def name(self, meaning: Meaning) -> str:
        """Write the name of a tool in this style."""
        words = [*meaning.noun] if self.bare else [meaning.verb, *meaning.noun]
        if self.noun_first and not self.bare:
            words = [*meaning.noun, meaning.verb]
        if self.join == "camel":
            text = words[0] + "".join(word.capitalize() for word in words[1:])
        else:
            text = self.join.join(words)
        return self.prefix + text + self.suffix


def define(name: str, description: str, properties: dict[str, Any]) -> Tool:
    """Return a tool in OpenAI's form; an empty description is left out."""
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    function: dict[str, Any] = {"name": name, "parameters": parameters}
    if description:
        function["description"] = description
    return {"type": "function", "function": function}

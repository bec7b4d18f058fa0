"""Families of models: the delimiters and the syntax of their reasoning and tool calls, as data."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from localrouter.engine.generation_request import ToolCalls

Syntax: TypeAlias = Literal["json", "parameters", "gemma"]
"""Syntax of a tool call between its delimiters, white space aside:

- json: `{"name": "add", "arguments": {"a": 1}}`
- parameters: `<function=add>`, for each argument `<parameter=a>`, a line with its value, `</parameter>`, and last
  `</function>`; strings are written as they are, other values as JSON
- gemma: `call:add{a:1,b:<|"|>text<|"|>,c:{d:true}}`; strings as they are between `<|"|>`, keys without quotes
"""


@dataclass(frozen=True)
class Delimiters:
    """The two texts around a span."""

    begin: str
    end: str


_QUOTES: dict[Syntax, tuple[tuple[str, str], str]] = {
    "json": (('"', '"'), "\\"),
    "parameters": (("<parameter=", "</parameter>"), ""),
    "gemma": (('<|"|>', '<|"|>'), ""),
}
"""Quotes around text inside a call, in which the closing delimiter of the call is text, and the escape character."""


@dataclass(frozen=True)
class Family:
    """How a family of models writes. White space next to a delimiter belongs to the delimiter, not to the span."""

    name: str
    reasoning: Delimiters
    call: Delimiters
    syntax: Syntax
    reasoning_title: str = ""
    """The word that reasoning begins with and that is no part of it; "" for none."""

    @property
    def calls(self) -> ToolCalls:
        """Delimiters and quotes with which the engine recognises tool calls of this family."""
        return ToolCalls(self.call.begin, self.call.end, *_QUOTES[self.syntax])

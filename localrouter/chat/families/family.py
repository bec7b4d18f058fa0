"""What a family of models writes around its thoughts and its calls of functions, as data."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from localrouter.engine.messages import ToolCalls

Syntax: TypeAlias = Literal["json", "parameters", "gemma"]
"""How a call is spelled between its marks, white space aside:

- json: `{"name": "add", "arguments": {"a": 1}}`
- parameters: `<function=add>`, for each argument `<parameter=a>`, a line with its value, `</parameter>`, and last
  `</function>`; strings stand as they are, all else as JSON
- gemma: `call:add{a:1,b:<|"|>text<|"|>,c:{d:true}}`; strings stand as they are between their marks, keys are bare
"""


@dataclass(frozen=True)
class Marks:
    """What stands before and after something."""

    begin: str
    end: str


_QUOTES: dict[Syntax, tuple[tuple[str, str], str]] = {
    "json": (('"', '"'), "\\"),
    "parameters": (("<parameter=", "</parameter>"), ""),
    "gemma": (('<|"|>', '<|"|>'), ""),
}
"""What stands around text inside a call, in which the end of a call is text too, and what escapes a quote there."""


@dataclass(frozen=True)
class Family:
    """One way of writing. White space next to a mark belongs to the mark, not to what it encloses."""

    name: str
    thought: Marks
    call: Marks
    syntax: Syntax
    thought_title: str = ""
    """What stands first inside a thought and is no part of it."""

    @property
    def calls(self) -> ToolCalls:
        """How an engine finds calls of this family."""
        return ToolCalls(self.call.begin, self.call.end, *_QUOTES[self.syntax])

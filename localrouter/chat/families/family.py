"""What a family of models writes around its thoughts and its calls of functions, as data."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

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


@dataclass(frozen=True)
class Family:
    """One way of writing. White space next to a mark belongs to the mark, not to what it encloses."""

    name: str
    thought: Marks
    call: Marks
    syntax: Syntax
    thought_title: str = ""
    """What stands first inside a thought and is no part of it."""

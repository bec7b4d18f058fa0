"""Models whose chat template shows no tools, or shows them in a way that we do not read.

They are told in the system message what they can call and how. The spelling is the most common one there is, so that
many of them have seen it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from localrouter.chat.families.family import Family, Marks
from localrouter.chat.families.qwen import CALL, THOUGHT

FALLBACK = Family("fallback", THOUGHT, CALL, "json")

RESULT = Marks("<tool_response>", "</tool_response>")
"""What stands around a call's result, each mark on a line of its own, in a message of the user."""

INSTRUCTIONS = """\
# Functions

You can call functions. Each line below describes one as JSON; `parameters` is the JSON Schema of its arguments.

{definitions}

To call a function, write its name and all arguments that you need as one JSON object between these marks, and nothing \
else between them:

{example}

Call several functions by writing several such blocks. After your calls end your turn: the results come in the next \
message, in the order of the calls, each between {begin} and {end}. Use only the functions above. When you need none, \
answer in plain text."""


def instructions(functions: Sequence[Mapping[str, Any]]) -> str:
    """Return what a system message says of `functions`: each has a name, and maybe a description and parameters."""
    return INSTRUCTIONS.format(
        definitions="\n".join(_json(function) for function in functions),
        example=call_text("the function's name", {"an argument": "its value"}),
        begin=RESULT.begin,
        end=RESULT.end,
    )


def call_text(name: str, arguments: Mapping[str, Any]) -> str:
    """Return a call as a message of the assistant has it, in the history and in an answer."""
    return f"{CALL.begin}\n{_json({'name': name, 'arguments': arguments})}\n{CALL.end}"


def result_text(result: str) -> str:
    """Return a call's result as a message of the user has it."""
    return f"{RESULT.begin}\n{result}\n{RESULT.end}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

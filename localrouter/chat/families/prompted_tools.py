"""Tools in the system message, for models whose chat template shows no tools or has an unknown syntax of calls.

The system message describes the tools and the syntax of calls. The syntax is the most common one, so that many models
have seen it in training.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from localrouter.chat.families.family import Delimiters, Family
from localrouter.chat.families.qwen import CALL, REASONING

FALLBACK = Family("fallback", REASONING, CALL, "json")

RESULT = Delimiters("<tool_response>", "</tool_response>")
"""Delimiters of a tool result in a user message, each on a line of its own."""

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
    """Return the text of a system message that describes `functions`, each with its JSON Schema."""
    return INSTRUCTIONS.format(
        definitions="\n".join(_json(function) for function in functions),
        example=call_text("the function's name", {"an argument": "its value"}),
        begin=RESULT.begin,
        end=RESULT.end,
    )


def call_text(name: str, arguments: Mapping[str, Any]) -> str:
    """Return a tool call as text of an assistant message, as the model writes it and as the prompt shows it."""
    return f"{CALL.begin}\n{_json({'name': name, 'arguments': arguments})}\n{CALL.end}"


def result_text(result: str) -> str:
    """Return a tool result as text of a user message."""
    return f"{RESULT.begin}\n{result}\n{RESULT.end}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

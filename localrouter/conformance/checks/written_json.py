"""JSON that a model wrote, whole or cut by the limit of its answer."""

import json
import re
from collections.abc import Iterable
from typing import Any

from pydantic_core import from_json

from localrouter.conformance.check import Broken, Undecided

_SPACE = re.compile(r'("(?:[^"\\]|\\.)*"?)|\s+')


def whole(text: str, *, is_cut: bool) -> Any:
    """Return the value. Raises Broken if this is neither JSON nor, where it was cut, the beginning of it.

    What was cut and is right so far shows nothing: Undecided is raised.
    """
    try:
        return json.loads(text)
    except ValueError:
        if not is_cut:
            raise Broken(f"{text!r} is no JSON") from None
    if text.strip():
        beginning(text)
    raise Undecided("the answer was cut before its end")


def beginning(text: str) -> Any:
    """Return as much of a value as can be read. Raises Broken if nothing could make this JSON."""
    try:
        return from_json(text, allow_partial="trailing-strings")
    except ValueError as error:
        raise Broken(f"{text!r} is not how JSON begins: {error}") from None


def one_of(text: str, allowed: Iterable[Any], *, is_cut: bool) -> Any:
    """Return the value, one of those that are allowed. Raises Broken, and Undecided for the beginning of one."""
    values = list(allowed)
    if is_cut and "\\" not in text:
        compact = _SPACE.sub(lambda found: found[1] or "", text)
        if not any(json.dumps(value, separators=(",", ":")).startswith(compact) for value in values):
            raise Broken(f"{text!r} is not how an answer begins that follows the schema")
    value = whole(text, is_cut=is_cut)
    if not any(_same(value, other) for other in values):
        raise Broken(f"{value!r} does not follow the schema")
    return value


def _same(one: Any, other: Any) -> bool:
    """Whether two values are one in JSON, where true is not 1."""
    return bool(one == other) and json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)

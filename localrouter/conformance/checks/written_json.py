"""Validation of JSON that a model generated, complete or truncated by the output limit."""

import json
import re
from collections.abc import Iterable
from typing import Any

from pydantic_core import from_json

from localrouter.conformance.check import Broken, Undecided

_SPACE = re.compile(r'("(?:[^"\\]|\\.)*"?)|\s+')


def whole(text: str, *, is_cut: bool) -> Any:
    """Return the value of a JSON text. Raises Broken for invalid JSON, Undecided for truncated, so far valid JSON."""
    try:
        return json.loads(text)
    except ValueError:
        if not is_cut:
            raise Broken(f"{text!r} is no JSON") from None
    if text.strip():
        beginning(text)
    raise Undecided("the answer was cut before its end")


def beginning(text: str) -> Any:
    """Return the value of truncated JSON as far as it goes. Raises Broken if no continuation makes it valid."""
    try:
        return from_json(text, allow_partial="trailing-strings")
    except ValueError as error:
        raise Broken(f"{text!r} is not how JSON begins: {error}") from None


def one_of(text: str, allowed: Iterable[Any], *, is_cut: bool) -> Any:
    """Return the value of a text, one of `allowed`. Raises Broken for another one, Undecided for a truncated one."""
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
    """Whether two values are equal in JSON, where true is not 1."""
    return bool(one == other) and json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)

"""Checks of the values of keywords, and errors that name a place in a schema."""

import json
import math
from typing import Any

from localrouter.chat.grammar import keywords
from localrouter.chat.grammar.pattern import check_pattern, without_operators
from localrouter.chat.grammar.references import Steps
from localrouter.errors import InvalidRequest
from localrouter.schema.field_kinds import JsonObject

MAX_LEVELS = 300
"""Levels of nesting of a whole schema, examples and constants included."""


def place(param: str, steps: Steps) -> str:
    """Return the place of a part of a schema in OpenAI's form: `a.b[0].c`."""
    return param + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def refusal(message: str, param: str, steps: Steps, code: str = "invalid_schema") -> InvalidRequest:
    """Return an error for the part of a schema at `steps`."""
    where = place(param, steps)
    return InvalidRequest(f"Invalid schema at '{where}': {message}", param=where, code=code)


def check_size(schema: object, param: str, limit: int) -> None:
    """Raise InvalidRequest for a schema that is nested too deep, has invalid Unicode, or has over `limit` bytes."""
    level = [schema]
    for _ in range(MAX_LEVELS):
        level = [
            each
            for part in level
            for each in (part.values() if isinstance(part, dict) else part if isinstance(part, list) else ())
        ]
        if not level:
            break
    else:
        raise refusal(f"It is nested deeper than {MAX_LEVELS} levels.", param, ())
    try:
        size = len(json.dumps(schema, ensure_ascii=False).encode())
    except UnicodeEncodeError as error:
        raise refusal("It has half of a surrogate pair in it, which is no text.", param, ()) from error
    if size > limit:
        raise refusal(f"It has {size} bytes; {limit} are the most.", param, ())


def read_value(keyword: str, value: Any, schema: JsonObject, param: str, steps: Steps) -> JsonObject:
    """Return the keywords that a keyword without schemas is read into. Raises InvalidRequest for an invalid value."""
    if keyword in keywords.COUNTS:
        return {keyword: _count(value, param, steps)}
    if keyword in keywords.NUMBERS:
        return _number(keyword, value, schema, param, steps)
    if keyword == "type":
        types = value if isinstance(value, list) else [value]
        if not types or not all(isinstance(each, str) and each in keywords.TYPES for each in types):
            raise refusal(f"'type' must be one of {', '.join(keywords.TYPES)}, or a list of them.", param, steps)
        return {keyword: value if len(types) > 1 else types[0]}
    if keyword == "enum" and not (isinstance(value, list) and value):
        raise refusal("'enum' must be a list of at least one value.", param, steps)
    if keyword == "required" and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        raise refusal("'required' must be a list of names.", param, steps)
    if keyword == "pattern":
        if not isinstance(value, str):
            raise refusal("'pattern' must be a string.", param, steps)
        check_pattern(value, place(param, steps))
        return {keyword: without_operators(value)}
    return {keyword: value} if keyword in keywords.VALUES else {}


def _count(value: Any, param: str, steps: Steps) -> int:
    if not _is_number(value) or value < 0 or value != int(value):
        raise refusal(f"'{steps[-1]}' must be a whole number, at least 0.", param, steps)
    return int(value)


def _number(keyword: str, value: Any, schema: JsonObject, param: str, steps: Steps) -> JsonObject:
    if isinstance(value, bool) and keyword.startswith("exclusive"):  # how draft 4 wrote them
        bound = "minimum" if keyword == "exclusiveMinimum" else "maximum"
        return {keyword: schema[bound]} if value and bound in schema else {}
    if not _is_number(value):
        raise refusal(f"'{keyword}' must be a number, and none beyond 1.7e308.", param, steps)
    if keyword == "multipleOf" and value <= 0:
        raise refusal("'multipleOf' must be above 0.", param, steps)
    return {keyword: value}


def _is_number(value: Any) -> bool:
    """Return whether a value is a number within the range of floats, with which llguidance computes."""
    try:
        return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:
        return False

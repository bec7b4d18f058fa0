"""Checks of the size of a schema and of the values of keywords."""

import json
import math
from typing import Any

from localrouter.chat.grammar import keywords
from localrouter.chat.grammar.pattern import pattern_fault, without_operators
from localrouter.chat.grammar.references import Steps
from localrouter.chat.grammar.schema_fault import SchemaFault, SchemaTooLarge
from localrouter.schema.field_kinds import JsonObject

MAX_LEVELS = 300
"""Levels of nesting of a whole schema, examples and constants included."""


def check_size(schema: object, limit: int) -> None:
    """Raise SchemaTooLarge for a schema that is nested too deep, has invalid Unicode, or has over `limit` bytes."""
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
        raise SchemaTooLarge(f"It is nested deeper than {MAX_LEVELS} levels.")
    try:
        size = len(json.dumps(schema, ensure_ascii=False).encode())
    except UnicodeEncodeError as error:
        raise SchemaTooLarge("It has half of a surrogate pair in it, which is no text.") from error
    if size > limit:
        raise SchemaTooLarge(f"It has {size} bytes; {limit} are the most.")


def read_value(keyword: str, value: Any, schema: JsonObject, steps: Steps) -> JsonObject:
    """Return the keywords that a keyword without schemas is read into. Raises SchemaFault for an invalid value."""
    if keyword in keywords.COUNTS:
        return {keyword: _count(value, steps)}
    if keyword in keywords.NUMBERS:
        return _number(keyword, value, schema, steps)
    if keyword == "type":
        types = value if isinstance(value, list) else [value]
        if not types or not all(isinstance(each, str) and each in keywords.TYPES for each in types):
            raise SchemaFault(f"'type' must be one of {', '.join(keywords.TYPES)}, or a list of them.", steps)
        return {keyword: value if len(types) > 1 else types[0]}
    if keyword == "enum" and not (isinstance(value, list) and value):
        raise SchemaFault("'enum' must be a list of at least one value.", steps)
    if keyword == "required" and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        raise SchemaFault("'required' must be a list of names.", steps)
    if keyword == "pattern":
        return {keyword: read_pattern(value, steps)}
    return {keyword: value} if keyword in keywords.VALUES else {}


def read_pattern(pattern: Any, steps: Steps) -> str:
    """Return a regular expression of a schema in llguidance's dialect. Raises SchemaFault for one that is not read."""
    if not isinstance(pattern, str):
        raise SchemaFault("'pattern' must be a string.", steps)
    fault = pattern_fault(pattern)
    if fault is not None:
        raise SchemaFault(f"The regular expression {fault.message}", steps, fault.reason)
    return without_operators(pattern)


def folded_types(value: Any) -> Any:
    """Return the value of a `type` with the names of types in small letters: some clients send "STRING"."""
    if isinstance(value, list):
        return [folded_types(each) if isinstance(each, str) else each for each in value]
    return value.lower() if isinstance(value, str) and value.lower() in keywords.TYPES else value


def _count(value: Any, steps: Steps) -> int:
    if not _is_number(value) or value < 0 or value != int(value):
        raise SchemaFault(f"'{steps[-1]}' must be a whole number, at least 0.", steps)
    return int(value)


def _number(keyword: str, value: Any, schema: JsonObject, steps: Steps) -> JsonObject:
    if isinstance(value, bool) and keyword.startswith("exclusive"):  # how draft 4 wrote them
        bound = schema.get("minimum" if keyword == "exclusiveMinimum" else "maximum")
        return {keyword: bound} if value and _is_number(bound) else {}
    if not _is_number(value):
        raise SchemaFault(f"'{keyword}' must be a number, and none beyond 1.7e308.", steps)
    if keyword == "multipleOf" and value <= 0:
        raise SchemaFault("'multipleOf' must be above 0.", steps)
    return {keyword: value}


def _is_number(value: Any) -> bool:
    """Return whether a value is a number within the range of floats, with which llguidance computes."""
    try:
        return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:
        return False

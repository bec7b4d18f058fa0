"""From the bytes of a body to a request, or to a refusal in words that a person understands."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from localrouter.errors import InvalidRequest
from localrouter.schema.field_kinds import JsonObject

Model = TypeVar("Model", bound=BaseModel)

JSON_KINDS = {
    str: "a string",
    dict: "an object",
    list: "an array",
    int: "a number",
    float: "a number",
    bool: "a boolean",
}


def _type(expected: str) -> tuple[str, str]:
    return "invalid_type", f"Invalid type for {{field}}: expected {expected}, but got {{got}} instead."


def _value(expected: str) -> tuple[str, str]:
    return "invalid_value", f"Invalid value for {{field}}: expected {expected}."


WORDINGS = {
    "json_invalid": ("invalid_json", "The body is not valid JSON: {error}."),
    "missing": ("missing_required_parameter", "Missing required parameter: {field}."),
    "unknown_parameter": ("unknown_parameter", "Unknown parameter: {field}."),
    "missing_field": ("missing_required_parameter", "Missing required parameter: {field}."),
    "misplaced_parameter": ("invalid_value", "Invalid value for {field}: messages of the role '{role}' have none."),
    "unsupported_parameter": ("unsupported_parameter", "{message}"),
    "invalid_value": ("invalid_value", "{message}"),
    "content_type": _type("a string or an array of content parts"),
    "stop_type": _type("a string or an array of strings"),
    "prompt_type": _type("a string, an array of strings, or either in tokens"),
    "format_type": _type("an object"),
    "choice_type": _type("a string or an object"),
    "string_type": _type("a string"),
    "list_type": _type("an array"),
    "dict_type": _type("an object"),
    "model_type": _type("an object"),
    "bool_type": _type("a boolean"),
    "float_type": _type("a number"),
    "int_type": _type("an integer"),
    "int_from_float": _type("an integer"),
    "greater_than_equal": _value("a value >= {ge}"),
    "less_than_equal": _value("a value <= {le}"),
    "less_than": _value("a value < {lt}"),
    "finite_number": _value("a finite number"),
    "literal_error": _value("{expected}"),
    "string_pattern_mismatch": _value("letters, digits, '_' and '-' alone"),
    "too_long": _value("at most {max_length} items"),
    "too_short": _value("at least {min_length} item"),
    "string_too_short": _value("at least {min_length} character"),
    "string_too_long": _value("at most {max_length} characters"),
}
"""For each kind of pydantic's errors a code and a message, worded as OpenAI words it where OpenAI has one."""


OF_A_FIELD = {"unknown_parameter", "missing_field", "misplaced_parameter"}
"""Errors that a whole object has because of the field that they name."""


def parse_body(body: bytes, model: type[Model]) -> Model:
    """Return the request in `body`, read as `model`. Raises InvalidRequest with the first thing that is wrong."""
    try:
        request = model.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False)[0]) from None
    # Of two equal keys one would be dropped in silence, and a number that is none would reach templates and schemas as
    # another value. Depth and encoding are known to be sound by now.
    json.loads(body, object_pairs_hook=_no_key_twice, parse_constant=_no_number, parse_float=_float)
    return request


def _no_key_twice(pairs: list[tuple[str, object]]) -> JsonObject:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        times_said = Counter(name for name, _ in pairs)
        twice = next(name for name, times in times_said.items() if times > 1)
        raise InvalidRequest(
            f"The body says {_shortened(twice)!r} twice in one object.",
            param=_shortened(twice),
            code="duplicate_parameter",
        )
    return fields


def _no_number(word: str) -> NoReturn:
    raise InvalidRequest(f"The body is not valid JSON: {word} is no number of JSON.", code="invalid_json")


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise InvalidRequest(f"The body has a number that is too large: {_shortened(digits)}.", code="invalid_value")
    return value


def _refusal(error: ErrorDetails) -> InvalidRequest:
    context = error.get("ctx", {})
    named = f".{context['name']}" if error["type"] in OF_A_FIELD else ""
    param = _shortened(("".join(_steps(error["loc"])) + named).removeprefix("."))
    field = f"'{param}'" if param or named else "the body"
    facts = {
        "field": field,
        "got": "null" if error["input"] is None else JSON_KINDS.get(type(error["input"]), "something else"),
        "message": error["msg"].replace("{field}", field),
    }
    code, wording = WORDINGS.get(error["type"], ("invalid_value", "Invalid value for {field}."))
    return InvalidRequest(wording.format(**{**context, **facts}), param=param or None, code=code)


def _steps(loc: tuple[int | str, ...]) -> Iterator[str]:
    """Yield the place as OpenAI writes it. The tags of unions, in angle brackets, are no names of the user's."""
    for step in loc:
        if isinstance(step, int):
            yield f"[{step}]"
        elif not (step.startswith("<") and step.endswith(">")):
            yield f".{step}"


def _shortened(name: str) -> str:
    return name if len(name) <= 80 else f"{name[:77]}..."

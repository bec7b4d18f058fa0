"""From a parsed body to a validated request, or to an error that names the field and what is expected."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from localrouter.errors import InvalidRequest
from localrouter.schema.foreign_fields.canonical_body import CanonicalBody, foreign_fields

Model = TypeVar("Model", bound=BaseModel)

MAX_SHOWN = 80
"""Characters of a client's text in an error."""

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
    "missing": ("missing_required_parameter", "Missing required parameter: {field}."),
    "unknown_parameter": ("unknown_parameter", "Unknown parameter: {field}.{meant}"),
    "missing_field": ("missing_required_parameter", "Missing required parameter: {field}."),
    "misplaced_parameter": ("invalid_value", "Invalid value for {field}: messages of the role '{role}' have none."),
    "misplaced_reasoning": (
        "invalid_value",
        "Invalid value for {field}: only the assistant has reasoning.",
    ),
    "names_differ": (
        "invalid_value",
        "{field} and '{other}' are two names of one field, and their values differ; send one of them.",
    ),
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


OF_A_FIELD = {"unknown_parameter", "missing_field", "misplaced_parameter", "misplaced_reasoning", "names_differ"}
"""Errors that a whole object has because of the field that they name."""


def validated(value: object, model: type[Model], canonical: CanonicalBody | None = None) -> Model:
    """Return a parsed body as `model`. Raises InvalidRequest with the first error.

    `canonical` is what `value` comes from, where foreign fields were replaced; errors name the fields of the client.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _error_of(error.errors(include_url=False)[0], model, canonical) from None


def _error_of(error: ErrorDetails, model: type[BaseModel], canonical: CanonicalBody | None) -> InvalidRequest:
    context = error.get("ctx", {})
    path = [*error["loc"]]
    if canonical and path and isinstance(path[0], str):
        path[0] = canonical.source(path[0])
    named = f".{context['name']}" if error["type"] in OF_A_FIELD else ""
    param = shortened(("".join(_steps(path)) + named).removeprefix("."))
    field = f"'{param}'" if param or named else "the body"
    facts = {
        "field": field,
        "got": "null" if error["input"] is None else JSON_KINDS.get(type(error["input"]), "something else"),
        "message": error["msg"].replace("{field}", field),
        "meant": _meant(param, model) if error["type"] == "unknown_parameter" and not error["loc"] else "",
    }
    code, wording = WORDINGS.get(_kind(error), ("invalid_value", "Invalid value for {field}."))
    return InvalidRequest(wording.format(**{**context, **facts}), param=param or None, code=code)


def _meant(name: str, model: type[BaseModel]) -> str:
    """Return the question for a known field with a similar name; "" for none."""
    close = get_close_matches(name, [*model.model_fields, *foreign_fields(model)], n=1, cutoff=0.75)
    return f" Did you mean '{close[0]}'?" if close else ""


def _kind(error: ErrorDetails) -> str:
    """Return the kind of an error; pydantic takes an integer beyond the range of floats for no number at all."""
    return "finite_number" if error["type"] == "float_type" and type(error["input"]) is int else error["type"]


def _steps(loc: Iterable[int | str]) -> Iterator[str]:
    """Yield the steps of a place in OpenAI's form, without the tags of unions, which are in angle brackets."""
    for step in loc:
        if isinstance(step, int):
            yield f"[{step}]"
        elif not (step.startswith("<") and step.endswith(">")):
            yield f".{step}"


def shortened(name: str) -> str:
    """Return a text of the client for an error, cut to `MAX_SHOWN` characters."""
    return name if len(name) <= MAX_SHOWN else f"{name[: MAX_SHOWN - 3]}..."

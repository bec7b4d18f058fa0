"""From the bytes of a body to a validated request, or to an error that names the field and what is expected."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from localrouter.errors import InvalidRequest
from localrouter.schema.field_kinds import JsonObject
from localrouter.schema.foreign_fields.canonical_body import CanonicalBody, canonical_body, foreign_fields
from localrouter.schema.generation_fields import GenerationFields

Model = TypeVar("Model", bound=BaseModel)

MAX_DEPTH = 200
"""Levels of objects and arrays inside each other. What handles a request recursively needs a limit."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""The beginning of an escape for half of a surrogate pair."""

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


def parse_body(body: bytes, model: type[Model], *, ignore_unknown: bool = False) -> Model:
    """Return the request in `body`, validated as `model`. Raises InvalidRequest with the first error in the body.

    `ignore_unknown`: unknown fields at the top level are ignored and noted in the request, instead of rejected.

    The body is parsed once, by `json.loads`: pydantic's own JSON parser keeps the last of two equal keys and gives
    no way to see the first, and it makes the same infinity of `Infinity`, which is no JSON, and of `1e999`. A byte
    order mark (BOM) in front of the body is skipped.
    """
    parser = _BodyParser()
    value = parser.parse(body)
    canonical = canonical_body(value, model, ignore_unknown=ignore_unknown) if isinstance(value, dict) else None
    try:
        request = model.model_validate(canonical.fields if canonical else value)
    except ValidationError as error:
        raise _error_of(error.errors(include_url=False)[0], model, canonical) from None
    if parser.error is not None:
        raise parser.error
    if canonical and (canonical.ignored or canonical.sources) and isinstance(request, GenerationFields):
        request.note_foreign_fields({each.field: each.why for each in canonical.ignored}, canonical.sources)
    return request


class _BodyParser:
    """Parses one body. An error that does not stop the parser is kept: an error of a field says more about it."""

    def __init__(self) -> None:
        self.error: InvalidRequest | None = None
        """The first duplicate key, or number that JSON has not or a float cannot hold."""

    def parse(self, body: bytes) -> object:
        """Return the value in `body`. Raises InvalidRequest where the body is not JSON, or nested too deep."""
        try:
            value: object = json.loads(
                body.decode("utf-8-sig"),
                object_pairs_hook=self._object,
                parse_constant=self._constant,
                parse_float=self._float,
            )
        except UnicodeDecodeError as error:
            raise _not_json(f"byte {error.start} is not UTF-8") from None
        except json.JSONDecodeError as error:
            raise _not_json(str(error)) from None
        except ValueError:  # int() refuses thousands of digits, because it takes quadratic time
            raise _not_json("it has an integer with too many digits") from None
        except RecursionError:
            raise _too_deep() from None
        if body.count(b"[") + body.count(b"{") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
            raise _too_deep()
        if _SURROGATE.search(body):
            _check_unicode(value)
        return value

    def _object(self, pairs: list[tuple[str, object]]) -> JsonObject:
        fields = dict(pairs)
        if len(fields) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            name = _shortened(next(name for name, count in counts.items() if count > 1))
            self._keep(f"The body has the key {name!r} twice in one object.", "duplicate_parameter", name)
        return fields

    def _constant(self, word: str) -> float:
        self._keep(f"The body is not valid JSON: {word} is no number of JSON.", "invalid_json")
        return float(word)

    def _float(self, digits: str) -> float:
        value = float(digits)
        if math.isinf(value):
            self._keep(f"The body has a number that is too large: {_shortened(digits)}.", "invalid_value")
        return value

    def _keep(self, message: str, code: str, param: str | None = None) -> None:
        self.error = self.error or InvalidRequest(message, param=param, code=code)


def _is_deeper(value: object, limit: int) -> bool:
    """Return whether objects and arrays in `value` are nested more than `limit` levels deep."""
    level: list[Any] = [value] if isinstance(value, dict | list) else []
    for _ in range(limit):
        level = [
            item
            for container in level
            for item in (container.values() if type(container) is dict else container)
            if type(item) is dict or type(item) is list  # json.loads makes no subclasses, and isinstance is slower
        ]
        if not level:
            return False
    return True


def _check_unicode(value: object) -> None:
    """Raise InvalidRequest for a string with half of a surrogate pair, which `json.loads` lets pass."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _not_json("it has half of a surrogate pair, which is not Unicode text") from None


def _too_deep() -> InvalidRequest:
    return _not_json(f"it is nested deeper than {MAX_DEPTH} levels")


def _not_json(reason: str) -> InvalidRequest:
    return InvalidRequest(f"The body is not valid JSON: {reason}.", code="invalid_json")


def _error_of(error: ErrorDetails, model: type[BaseModel], canonical: CanonicalBody | None) -> InvalidRequest:
    context = error.get("ctx", {})
    path = [*error["loc"]]
    if canonical and path and isinstance(path[0], str):
        path[0] = canonical.source(path[0])
    named = f".{context['name']}" if error["type"] in OF_A_FIELD else ""
    param = _shortened(("".join(_steps(path)) + named).removeprefix("."))
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


def _shortened(name: str) -> str:
    return name if len(name) <= 80 else f"{name[:77]}..."

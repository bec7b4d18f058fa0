"""Values of foreign fields, converted to those of ours."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from localrouter.errors import InvalidRequest
from localrouter.schema.field_kinds import MAX_TOKENS, JsonObject
from localrouter.schema.foreign_fields.foreign_field import Assignment, Outcome
from localrouter.schema.ignored_fields import IgnoredField

_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$#&~-]")
"""Characters with a meaning in regular expressions. `<` and `>` have one only when they are escaped."""
EFFORTS = ("low", "medium", "high", "max")
MAX_DURATION_TEXT = 64


def seconds(value: Any, path: str) -> int:
    """Return a duration in whole seconds: a number of seconds, or text such as `5m` and `1h30m`; negative: for ever."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _whole_seconds(value, path)
    if not isinstance(value, str):
        raise _invalid_type(path, 'a number of seconds or a text such as "5m"')
    text = value.strip()[:MAX_DURATION_TEXT]
    try:
        return _whole_seconds(float(text), path)
    except ValueError:
        pass
    digits = text.removeprefix("-")
    found = _DURATION.findall(digits)
    if not found or "".join(number + unit for number, unit in found) != digits:
        raise _invalid_value(path, 'a duration such as "5m", "1h30m" or "-1"')
    total = sum(float(number) * _SECONDS[unit] for number, unit in found)
    return _whole_seconds(-total if text.startswith("-") else total, path)


def _whole_seconds(value: float, path: str) -> int:
    if value != value:  # noqa: PLR0124 - NaN is the one number that is not itself
        raise _invalid_value(path, "a number")
    return MAX_TOKENS if value < 0 or value > MAX_TOKENS else round(value)


def unlimited(value: Any, _path: str) -> object:
    """Return a token limit; llama.cpp's -1 and -2 are no limit."""
    return -1 if isinstance(value, int | float) and value in (-1, -2) else value


def budget(value: Any, _path: str) -> object:
    """Return a reasoning budget; -1 is no budget, as null."""
    return None if isinstance(value, int | float) and value == -1 else value


def choice_regex(value: Any, path: str) -> str:
    """Return the regular expression for one of several texts."""
    if not isinstance(value, list) or not value or not all(isinstance(each, str) and each for each in value):
        raise _invalid_type(path, "an array of at least one string, none of them empty")
    return "|".join(_SPECIAL.sub(r"\\\g<0>", each) for each in value)


def schema_format(value: Any, path: str) -> JsonObject:
    """Return the `response_format` for a JSON Schema, which may be written as text."""
    if isinstance(value, str):
        value = _json(value, path)
    if not isinstance(value, dict):
        raise _invalid_type(path, "a JSON Schema")
    return {"type": "json_schema", "json_schema": {"schema": value}}


def _json(text: str, path: str) -> object:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise _invalid_value(path, "a JSON Schema, as an object or as JSON text") from None


def output_format(value: Any, path: str) -> JsonObject:
    """Return the `response_format` for Ollama's `format`: the text `json`, or a JSON Schema."""
    return {"type": "json_object"} if value == "json" else schema_format(value, path)


def json_object_format(value: Any, path: str) -> JsonObject | None:
    """Return the `response_format` for a switch: any JSON object where it is true."""
    if not isinstance(value, bool):
        raise _invalid_type(path, "a boolean")
    return {"type": "json_object"} if value else None


def think(value: Any, path: str) -> Iterator[Outcome]:
    """Yield the meaning of Ollama's `think`: whether to reason, or how much."""
    if isinstance(value, bool):
        yield Assignment("enable_thinking", value, path)
    elif value in EFFORTS:
        yield Assignment("reasoning_effort", value, path)
    else:
        raise _invalid_value(path, f"a boolean or one of {', '.join(EFFORTS)}")


def thinking_type(value: Any, path: str) -> Iterator[Outcome]:
    """Yield the meaning of `thinking.type`: enabled, disabled, or left to the model."""
    if value in ("adaptive", "auto"):
        yield IgnoredField(path, "the model decides anyway")
    elif value in ("enabled", "disabled"):
        yield Assignment("enable_thinking", value == "enabled", path)
    else:
        raise _invalid_value(path, "'enabled', 'disabled', 'adaptive' or 'auto'")


def excluded(value: Any, path: str) -> bool:
    """Return whether reasoning is part of the response, for a switch that leaves it out."""
    if not isinstance(value, bool):
        raise _invalid_type(path, "a boolean")
    return not value


def likeliest(value: Any, path: str) -> Iterator[Outcome]:
    """Yield the meaning of llama.cpp's `n_probs`: the number of likeliest tokens that are reported; 0: none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise _invalid_type(path, "an integer")
    if value == 0:
        yield IgnoredField(path, "0 asks for no logprobs")
    else:
        yield Assignment("logprobs", True, path)
        yield Assignment("top_logprobs", value, path)


def _invalid_type(path: str, expected: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid type for '{path}': expected {expected}.", param=path, code="invalid_type")


def _invalid_value(path: str, expected: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid value for '{path}': expected {expected}.", param=path, code="invalid_value")

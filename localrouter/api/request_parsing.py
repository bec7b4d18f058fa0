"""From the bytes of a body to a validated request, or to the error of the first fault in the body."""

import json
import math
import re
from collections import Counter
from typing import Any

from localrouter.errors import InvalidRequest
from localrouter.schema.field_kinds import JsonObject
from localrouter.schema.foreign_fields.canonical_body import canonical_body
from localrouter.schema.model_request import ModelRequest
from localrouter.schema.validation import Model, shortened, validated

MAX_DEPTH = 200
"""Levels of objects and arrays inside each other. What handles a request recursively needs a limit."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""The beginning of an escape for half of a surrogate pair."""


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
    request = validated(canonical.fields if canonical else value, model, canonical)
    if parser.error is not None:
        raise parser.error
    if canonical and (canonical.ignored or canonical.sources) and isinstance(request, ModelRequest):
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
            name = shortened(next(name for name, count in counts.items() if count > 1))
            self._keep(f"The body has the key {name!r} twice in one object.", "duplicate_parameter", name)
        return fields

    def _constant(self, word: str) -> float:
        self._keep(f"The body is not valid JSON: {word} is no number of JSON.", "invalid_json")
        return float(word)

    def _float(self, digits: str) -> float:
        value = float(digits)
        if math.isinf(value):
            self._keep(f"The body has a number that is too large: {shortened(digits)}.", "invalid_value")
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

"""Checks of structured output. The schemas are small, so that even random output that follows them is soon complete."""

import json
import re
from itertools import product
from typing import Any

from localrouter.conformance.check import CheckGroup, Undecided, equal, expect, rejected, rejects
from localrouter.conformance.checks.written_json import beginning, one_of, whole
from localrouter.conformance.server_under_test import ServerUnderTest

RESPONSE_FORMAT = CheckGroup("response_format")
_FIELDS = ("response_format", "json_schema")
_LONG = 96
"""Tokens for an output of some twenty characters: a model with random weights adds white space wherever it may."""
_TRIES = 3
_ASK_FOR_JSON = [{"role": "user", "content": "Answer in JSON."}]
"""With `json_object` the reference requires the word JSON in the conversation."""
_BOOLEAN = {"type": "boolean"}
_BOTH = (True, False)
_COLOURS = ("red", "blue")
_COLOUR = {"type": "string", "enum": [*_COLOURS]}


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def _object(**properties: Any) -> dict[str, Any]:
    """Return the schema of an object for strict mode: all properties required, no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _answer(server: ServerUnderTest, form: dict[str, Any]) -> tuple[str, bool]:
    """Return the output and whether it was truncated; it may not fit into its limit, so it is requested a few times."""
    text, reason = "", "length"
    for _ in range(_TRIES):
        answer = server.ask(response_format=form, messages=_ASK_FOR_JSON, max_tokens=_LONG)
        choice = answer["choices"][0]
        text, reason = choice["message"]["content"] or "", choice["finish_reason"]
        if reason != "length":
            break
    return text, reason == "length"


def _follows(server: ServerUnderTest, schema: dict[str, Any], *allowed: Any) -> None:
    """Raise Broken unless the answer to a strict schema is one of those that it allows."""
    text, is_cut = _answer(server, _schema(schema))
    one_of(text, allowed, is_cut=is_cut)


@RESPONSE_FORMAT.check(*_FIELDS, "json_object")
def json_object_gives_an_object(server: ServerUnderTest) -> None:
    """`json_object` ensures that the message is valid JSON; one that was cut is the beginning of it."""
    text, is_cut = _answer(server, {"type": "json_object"})
    if is_cut and re.match(r'\s*\{\s*"', text):
        beginning(text)
        return
    value = whole(text, is_cut=is_cut)
    expect(isinstance(value, dict), f"{value!r} is no object")


@RESPONSE_FORMAT.check(*_FIELDS)
def a_strict_schema_gives_its_properties(server: ServerUnderTest) -> None:
    """With `strict` the model always follows the exact schema: what is required is there, and nothing else."""
    _follows(server, _object(ok=_BOOLEAN), *({"ok": ok} for ok in _BOTH))


@RESPONSE_FORMAT.check(*_FIELDS)
def a_strict_schema_holds_an_enum(server: ServerUnderTest) -> None:
    """An `enum` in the schema leaves no other value."""
    _follows(server, _object(c=_COLOUR), *({"c": colour} for colour in _COLOURS))


@RESPONSE_FORMAT.check(*_FIELDS)
def a_strict_schema_holds_inside_objects(server: ServerUnderTest) -> None:
    """Nested objects follow their schema too."""
    _follows(server, _object(a=_object(b=_object(c=_BOOLEAN))), *({"a": {"b": {"c": ok}}} for ok in _BOTH))


@RESPONSE_FORMAT.check(*_FIELDS)
def a_strict_schema_holds_in_arrays(server: ServerUnderTest) -> None:
    """`minItems` and `maxItems` bound an array, whose items follow their schema."""
    bounded = {"type": "array", "items": _BOOLEAN, "minItems": 2, "maxItems": 3}
    lists = [[*items] for length in (2, 3) for items in product(_BOTH, repeat=length)]
    _follows(server, _object(l=bounded), *({"l": items} for items in lists))


@RESPONSE_FORMAT.check(*_FIELDS)
def a_strict_schema_holds_a_range(server: ServerUnderTest) -> None:
    """`minimum` and `maximum` bound a number."""
    bounded = {"type": "integer", "minimum": 3, "maximum": 5}
    _follows(server, _object(n=bounded), *({"n": number} for number in (3, 4, 5)))


@RESPONSE_FORMAT.check(*_FIELDS)
def a_strict_schema_holds_a_pattern(server: ServerUnderTest) -> None:
    """`pattern` is a regular expression that a string must match."""
    pattern = {"type": "string", "pattern": "^[ab]{2}$"}
    _follows(server, _object(s=pattern), *({"s": text} for text in ("aa", "ab", "ba", "bb")))


@RESPONSE_FORMAT.check(*_FIELDS)
def a_strict_schema_holds_a_format(server: ServerUnderTest) -> None:
    """`format` names a well-known form of a string, such as `date`."""
    text, is_cut = _answer(server, _schema(_object(d={"type": "string", "format": "date"})))
    value = whole(text, is_cut=is_cut)
    equal(list(value), ["d"], "the list of keys")
    expect(re.fullmatch(r"\d{4}-\d\d-\d\d", str(value["d"])), f"{value['d']!r} is no date")


@RESPONSE_FORMAT.check(*_FIELDS)
def a_strict_schema_holds_alternatives(server: ServerUnderTest) -> None:
    """With `anyOf` a value follows one of several schemas."""
    schema = _object(v={"anyOf": [_object(ok=_BOOLEAN), {"type": "null"}]})
    _follows(server, schema, {"v": None}, *({"v": {"ok": ok}} for ok in _BOTH))


@RESPONSE_FORMAT.check(*_FIELDS)
def a_strict_schema_may_have_definitions(server: ServerUnderTest) -> None:
    """`$ref` stands for a schema of `$defs`."""
    schema = {**_object(c={"$ref": "#/$defs/colour"}), "$defs": {"colour": _COLOUR}}
    _follows(server, schema, *({"c": colour} for colour in _COLOURS))


@RESPONSE_FORMAT.check(*_FIELDS)
def a_strict_schema_may_be_recursive(server: ServerUnderTest) -> None:
    """Recursive schemas are supported."""
    node = _object(next={"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]})
    text, is_cut = _answer(server, _schema({**_object(first={"$ref": "#/$defs/node"}), "$defs": {"node": node}}))
    value = whole(text, is_cut=is_cut)
    equal(list(value), ["first"], "the list of keys")
    inner = value["first"]
    while inner is not None:
        equal(list(inner), ["next"], "the list of keys of a node")
        inner = inner["next"]


@RESPONSE_FORMAT.check(*_FIELDS, "stream")
def a_strict_schema_holds_in_a_stream(server: ServerUnderTest) -> None:
    """Streamed, the joined deltas follow the schema as well."""
    form = _schema(_object(c=_COLOUR))
    stream = server.stream(response_format=form, messages=_ASK_FOR_JSON, max_tokens=_LONG)
    one_of(stream.text(), ({"c": colour} for colour in _COLOURS), is_cut=stream.finish_reasons() == ["length"])


@RESPONSE_FORMAT.check(*_FIELDS)
def complete_structured_output_ends_with_stop(server: ServerUnderTest) -> None:
    """`finish_reason` is `stop` if the model hit a natural stop point, as the end of its JSON is."""
    fields = {"response_format": _schema(_object(ok=_BOOLEAN)), "messages": _ASK_FOR_JSON, "max_tokens": _LONG}
    choice = server.ask(**fields)["choices"][0]
    if choice["finish_reason"] == "length":
        raise Undecided("the answer was cut before its end")
    json.loads(choice["message"]["content"])
    equal(choice["finish_reason"], "stop", "finish_reason")


@RESPONSE_FORMAT.check(*_FIELDS)
def an_invalid_schema_is_rejected_by_name(server: ServerUnderTest) -> None:
    """A schema that is none cannot be followed; the request is invalid, and the error says what of it."""
    server.ask(response_format=_schema(_object(ok=_BOOLEAN)))
    error = rejected(server, response_format=_schema({"type": "no such type"}))
    said = f"{error.param} {error.response.text}"
    expect("response_format" in said or "schema" in said.lower(), f"the error does not name it: {error.message}")


@RESPONSE_FORMAT.check(*_FIELDS)
def a_schema_without_a_name_is_rejected(server: ServerUnderTest) -> None:
    """`json_schema.name` is required."""
    schema = _object(ok=_BOOLEAN)
    nameless = {"type": "json_schema", "json_schema": {"strict": True, "schema": schema}}
    rejects(server, {"response_format": _schema(schema)}, {"response_format": nameless})


@RESPONSE_FORMAT.check(*_FIELDS)
def an_unknown_format_is_rejected(server: ServerUnderTest) -> None:
    """`response_format.type` is `text`, `json_object` or `json_schema`."""
    rejects(server, {"response_format": {"type": "text"}}, {"response_format": {"type": "no_such_format"}})

"""Answers in a promised form."""

import json
from typing import Any

from localrouter.conformance.check import Broken, Group, NotTestable, equal, expect
from localrouter.conformance.server import MAX_TOKENS, Server

RESPONSE_FORMAT = Group("response_format")


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def _strict(**properties: Any) -> dict[str, Any]:
    """An object as strict mode wants it: all properties required, no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _value(server: Server, form: dict[str, Any]) -> Any:
    """Return the JSON that came. A cut answer shows nothing; one that is no JSON from its beginning is broken."""
    choice = server.ask(response_format=form, max_tokens=MAX_TOKENS)["choices"][0]
    text = choice["message"]["content"] or ""
    try:
        return json.loads(text)
    except ValueError:
        if choice["finish_reason"] == "length" and not text.strip().strip("{"):
            raise NotTestable("the answer was cut at its first brace") from None
        if choice["finish_reason"] == "length" and text.lstrip().startswith(('{"', "{ ", "{\n", "{\t", "{}")):
            raise NotTestable("the answer was cut before its end") from None
        raise Broken(f"{text!r} is no JSON object") from None


@RESPONSE_FORMAT.check("response_format", "json_object")
def json_object_gives_an_object(server: Server) -> None:
    """`json_object` guarantees that the message the model generates is valid JSON, unless it was cut."""
    value = _value(server, {"type": "json_object"})
    expect(isinstance(value, dict), f"{value!r} is no object")


@RESPONSE_FORMAT.check("response_format", "json_schema")
def a_strict_schema_gives_its_properties(server: Server) -> None:
    """With `strict` the model always follows the exact schema: what is required is there, and nothing else."""
    value = _value(server, _schema(_strict(ok={"type": "boolean"})))
    equal(list(value), ["ok"], "the list of keys")
    expect(isinstance(value["ok"], bool), f"ok is {value['ok']!r}")


@RESPONSE_FORMAT.check("response_format", "json_schema")
def a_strict_schema_holds_an_enum(server: Server) -> None:
    """An `enum` in the schema leaves no other value."""
    value = _value(server, _schema(_strict(c={"type": "string", "enum": ["red", "blue"]})))
    expect(value["c"] in ("red", "blue"), f"{value['c']!r} is not in the enum")


@RESPONSE_FORMAT.check("response_format", "json_schema")
def a_strict_schema_holds_inside_objects(server: Server) -> None:
    """Nested objects follow their schema too."""
    value = _value(server, _schema(_strict(a=_strict(b={"type": "boolean"}))))
    equal([list(value), list(value["a"])], [["a"], ["b"]], "the keys of both objects")
    expect(isinstance(value["a"]["b"], bool), f"b is {value['a']['b']!r}")


@RESPONSE_FORMAT.check("response_format", "json_schema")
def a_strict_schema_holds_in_a_stream(server: Server) -> None:
    """Streamed, the joined deltas follow the schema as well."""
    form = _schema(_strict(ok={"type": "boolean"}))
    stream = server.stream(response_format=form, max_tokens=MAX_TOKENS)
    if stream.finish_reasons() == ["length"] and stream.text().lstrip().startswith("{"):
        raise NotTestable("the answer was cut before its end")
    expect(isinstance(json.loads(stream.text())["ok"], bool), f"{stream.text()!r} does not follow the schema")


@RESPONSE_FORMAT.check("response_format", "json_schema")
def an_invalid_schema_is_refused(server: Server) -> None:
    """A schema that is none cannot be followed; the request is invalid."""
    server.ask(response_format=_schema(_strict(ok={"type": "boolean"})))
    status = server.status(response_format=_schema({"type": "no such type"}))
    expect(400 <= status < 500, f"it was answered with status {status}, not refused")


@RESPONSE_FORMAT.check("response_format")
def an_unknown_format_is_refused(server: Server) -> None:
    """`response_format.type` is `text`, `json_object` or `json_schema`."""
    server.ask(response_format={"type": "text"})
    status = server.status(response_format={"type": "no_such_format"})
    expect(400 <= status < 500, f"it was answered with status {status}, not refused")

"""What is said of a schema before anything is computed for it, and that llguidance agrees."""

import json
import math
from typing import Any

import llguidance
import pytest

from localrouter.chat.grammar import formats, keywords
from localrouter.chat.grammar.json_schema import read_schema
from localrouter.chat.grammar.schema_reader import MAX_DEPTH, MAX_NODES
from localrouter.chat.grammar.weakening import MAX_OPTIONAL
from localrouter.errors import InvalidRequest

WHERE = "response_format.json_schema.schema"


def refusal(schema: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read_schema(schema, WHERE)
    return caught.value


def compiles(schema: Any) -> bool:
    """Whether llguidance takes a schema as we hand it over."""
    read = read_schema(schema, WHERE)
    lark = llguidance.LLMatcher.grammar_from_lark(f"start: {read.embedded(read.root)}")
    is_error, _ = llguidance.LLMatcher.validate_grammar_with_warnings(lark)
    return not is_error


def raw_compiles(schema: Any) -> bool:
    """Whether llguidance takes a schema as it is."""
    lark = llguidance.LLMatcher.grammar_from_lark(f"start: %json {json.dumps(schema)}")
    is_error, _ = llguidance.LLMatcher.validate_grammar_with_warnings(lark)
    return not is_error


NULL = {"type": "null"}
EXAMPLES: dict[str, Any] = {
    "$anchor": "here",
    "$comment": "a word",
    "$defs": {"a": {}},
    "$dynamicAnchor": "here",
    "$dynamicRef": "#here",
    "$id": "https://example.com/schema",
    "$recursiveAnchor": True,
    "$recursiveRef": "#",
    "$ref": "#/$defs/a",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "$vocabulary": {},
    "additionalItems": False,
    "additionalProperties": {"type": "integer"},
    "allOf": [NULL],
    "anyOf": [NULL],
    "const": "a",
    "contains": {},
    "contentEncoding": "base64",
    "contentMediaType": "text/plain",
    "contentSchema": {},
    "default": 1,
    "definitions": {"a": {}},
    "dependencies": {"a": ["b"]},
    "dependentRequired": {"a": ["b"]},
    "dependentSchemas": {"a": {}},
    "deprecated": True,
    "description": "what it is",
    "else": {"type": "null"},
    "enum": ["a"],
    "examples": [1],
    "exclusiveMaximum": 5,
    "exclusiveMinimum": 5,
    "format": "date",
    "id": "here",
    "if": NULL,
    "items": {},
    "maxContains": 2,
    "maxItems": 2,
    "maxLength": 2,
    "maxProperties": 2,
    "maximum": 2,
    "minContains": 2,
    "minItems": 2,
    "minLength": 2,
    "minProperties": 2,
    "minimum": 2,
    "multipleOf": 2,
    "not": {},
    "oneOf": [NULL],
    "pattern": "a",
    "patternProperties": {"^a": {}},
    "prefixItems": [{}],
    "properties": {"a": {}},
    "propertyNames": {"pattern": "^a"},
    "readOnly": True,
    "required": ["a"],
    "then": {"type": "null"},
    "title": "A title",
    "type": "null",
    "unevaluatedItems": False,
    "unevaluatedProperties": False,
    "uniqueItems": True,
    "writeOnly": True,
}
"""A value for every keyword of draft 2020-12 and of those before it."""
BESIDE: dict[str, Any] = {
    "$ref": {"$defs": {"a": {}}},
    "if": {"then": {"type": "null"}},
    "then": {"if": NULL},
    "else": {"if": NULL},
    "minContains": {"contains": {}},
    "maxContains": {"contains": {}},
}
"""What a keyword needs beside it to say anything."""


def test_every_keyword_has_one_fate() -> None:
    assert keywords.ENFORCED | keywords.ANNOTATIONS | keywords.UNSUPPORTED.keys() == EXAMPLES.keys()
    assert not keywords.ENFORCED & keywords.ANNOTATIONS
    assert not (keywords.ENFORCED | keywords.ANNOTATIONS) & keywords.UNSUPPORTED.keys()


@pytest.mark.parametrize("keyword", EXAMPLES)
def test_a_keyword_is_enforced_or_passed_over_or_refused_with_its_place(keyword: str) -> None:
    schema = {keyword: EXAMPLES[keyword], **BESIDE.get(keyword, {})}
    if keyword in keywords.UNSUPPORTED:
        error = refusal({"properties": {"a": schema}})
        assert error.reason == "unsupported_schema"
        assert str(error.param).startswith(f"{WHERE}.properties.a.")
        assert not raw_compiles(schema)
    else:
        assert compiles(schema)
        assert (read_schema(schema, WHERE).root != {}) == (keyword in keywords.ENFORCED - {"additionalItems"})


@pytest.mark.parametrize(("keyword", "values"), keywords.UNSUPPORTED.items())
def test_a_keyword_that_is_refused_may_ask_for_nothing(keyword: str, values: tuple[object, ...]) -> None:
    for value in values:
        assert compiles({keyword: value, **({"if": NULL} if keyword in {"then", "else"} else {})})


@pytest.mark.parametrize("name", [*formats.FORMATS, "password", "int32", "file-path"])
def test_a_format_is_enforced_or_unknown_to_the_standard(name: str) -> None:
    assert compiles({"type": "string", "format": name})


@pytest.mark.parametrize("name", sorted(formats.UNSUPPORTED))
def test_a_format_that_cannot_be_enforced_is_refused(name: str) -> None:
    assert refusal({"items": {"type": "string", "format": name}}).param == f"{WHERE}.items.format"
    assert not raw_compiles({"type": "string", "format": name})
    assert compiles({"type": "integer", "format": name})


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ([], ""),
        (None, ""),
        ({"type": "text"}, ".type"),
        ({"type": []}, ".type"),
        ({"format": "date", "type": 5}, ".type"),
        ({"oneOf": [{"type": None}, {"type": "string"}]}, ".oneOf[0].type"),
        ({"properties": []}, ".properties"),
        ({"properties": {"a": {"pattern": "(?=b)"}}}, ".properties.a.pattern"),
        ({"pattern": r"(a)\1"}, ".pattern"),
        ({"pattern": r"\bword\b"}, ".pattern"),
        ({"pattern": 5}, ".pattern"),
        ({"pattern": "a" + 3 * "\\"}, ".pattern"),
        ({"patternProperties": {"(?!a)": {}}}, ".patternProperties.(?!a)"),
        ({"required": "a"}, ".required"),
        ({"enum": []}, ".enum"),
        ({"anyOf": []}, ".anyOf"),
        ({"anyOf": {}}, ".anyOf"),
        ({"allOf": [{}, {"items": 5}]}, ".allOf[1].items"),
        ({"minLength": -1}, ".minLength"),
        ({"minItems": 1.5}, ".minItems"),
        ({"maxItems": math.inf}, ".maxItems"),
        ({"minLength": math.nan}, ".minLength"),
        ({"maximum": "5"}, ".maximum"),
        ({"multipleOf": 0}, ".multipleOf"),
        ({"minimum": 10**400}, ".minimum"),
        ({"format": 5}, ".format"),
        ({"$ref": 5}, ".$ref"),
        ({"$ref": "#/$defs/missing"}, ".$ref"),
        ({"$ref": "https://example.com/schema"}, ".$ref"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"not": {}}}}, ".$defs.a.not"),
        ({"oneOf": [{"type": "string"}, {"minLength": 2}]}, ".oneOf"),
        ({"anyOf": [{"not": {}}, {"contains": {}}]}, ".anyOf[0].not"),
        ({"properties": {}, "propertyNames": {"pattern": "a"}}, ".propertyNames"),
        ({"const": "\ud800"}, ""),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, ""),
        (
            {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]},
            "",
        ),
    ],
)
def test_a_refusal_names_the_place(schema: Any, place: str) -> None:
    assert refusal(schema).param == WHERE + place


def test_a_branch_that_cannot_be_enforced_is_never_taken() -> None:
    schema = {"anyOf": [{"type": "string", "pattern": "(?!a)"}, {"type": "number"}]}
    assert read_schema(schema, WHERE).root == {"type": "number"}


@pytest.mark.parametrize(
    ("names", "properties"),
    [
        ({"enum": ["a", 1, [2], {}]}, {"a": {}}),
        ({"const": None}, {}),
        ({"type": "integer"}, {}),
    ],
)
def test_names_of_properties_are_strings_alone(names: Any, properties: Any) -> None:
    read = read_schema({"propertyNames": names}, WHERE)
    assert read.root == {"type": "object", "properties": properties, "additionalProperties": False}


def test_what_a_dropped_branch_refers_to_is_read_where_another_refers_to_it() -> None:
    dropped = {"properties": {"a": {"$ref": "#/$defs/a"}, "b": {"not": {}}}}
    schema = {"anyOf": [dropped, {"items": {"$ref": "#/$defs/a"}}], "$defs": {"a": {"type": "null"}}}
    assert compiles(schema)


def test_each_definition_needs_a_value_that_ends() -> None:
    endless = {"type": "array", "items": {"$ref": "#/$defs/endless"}, "minItems": 1}
    definitions = {"endless": endless, "fine": {"type": "null"}}
    schema = {"anyOf": [{"$ref": "#/$defs/fine"}, {"$ref": "#/$defs/endless"}], "$defs": definitions}
    assert refusal(schema).param == WHERE


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"next": {"$ref": "#"}}},
        {"type": "array", "items": {"$ref": "#"}},
        {"$ref": "#here", "$defs": {"a": {"$anchor": "here", "type": "null"}}},
        {"$ref": "#/properties/a~1b", "properties": {"a/b": {"type": "object"}}},
        {"$ref": "#/definitions/a", "definitions": {"a": {"type": "null"}}},
        {"type": "integer", "minimum": 3, "exclusiveMinimum": True},
        {"type": "array", "items": [{"type": "null"}], "additionalItems": False},
        {"type": "string", "pattern": "^[a-z]+$", "format": "hostname"},
        {"oneOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]},
        {"oneOf": [{"const": "a"}, {"const": "b"}, {"enum": [1, 2]}, {"const": 3.5}]},
    ],
)
def test_what_older_drafts_and_libraries_write_is_taken(schema: Any) -> None:
    assert compiles(schema)


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "null"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def test_a_schema_may_be_deep_and_large_within_bounds() -> None:
    assert compiles(nested(MAX_DEPTH - 1))
    assert compiles(with_properties(MAX_NODES - 1))
    assert compiles({**with_properties(MAX_OPTIONAL), "required": []})


def with_properties(count: int) -> dict[str, Any]:
    names = [f"p{index}" for index in range(count)]
    return {"type": "object", "properties": {name: {"type": "null"} for name in names}, "required": names}


@pytest.mark.parametrize(
    "schema",
    [
        nested(MAX_DEPTH),
        nested(100_000),
        with_properties(MAX_NODES),
        {"enum": ["x" * 1_000_000]},
    ],
    ids=["deep", "deeper", "wide", "long"],
)
def test_a_schema_out_of_bounds_is_refused(schema: Any) -> None:
    assert refusal(schema).reason == "invalid_schema"


def test_a_property_too_many_that_may_be_left_out_is_refused() -> None:
    schema = {**with_properties(MAX_OPTIONAL + 2), "required": ["p0"]}
    assert refusal(schema).param == f"{WHERE}.properties"
    assert refusal(schema).reason == "unsupported_schema"

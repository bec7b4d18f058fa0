"""Schemas that are not strict: what cannot be enforced is left out and listed, and the rest is enforced."""

from typing import Any

import pytest
from walks import admits

from localrouter.chat.grammar import formats, keywords
from localrouter.chat.grammar.callable_tool import CallableTool
from localrouter.chat.grammar.json_schema import Schema, read_schema
from localrouter.chat.grammar.pattern_syntax import is_readable
from localrouter.chat.grammar.schema_fault import MAX_LISTED, MAX_TEXT
from localrouter.chat.grammar.schema_reader import MAX_DEPTH, MAX_NODES
from localrouter.chat.grammar.weakening import MAX_OPTIONAL
from localrouter.errors import InvalidRequest
from localrouter.schema.explain import NotEnforced

WHERE = "schema"
URL = "https://example.com/schema.json"
TEXT = {"type": "string"}
NULL = {"type": "null"}


def loose(schema: Any) -> Schema:
    return read_schema(schema, WHERE, is_strict=False)


def listed(schema: Any) -> list[str]:
    return [part.field.removeprefix(WHERE) for part in loose(schema).not_enforced]


def allows(schema: Any, text: str) -> bool:
    read = loose(schema)
    return admits(f"start: {read.embedded(read.root)}", text)


PARTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "not": ({"type": "string", "not": {"const": "a"}}, [".not"]),
    "uniqueItems": ({"type": "array", "uniqueItems": True}, [".uniqueItems"]),
    "if": ({"if": NULL, "then": NULL, "else": TEXT}, [".if", ".then", ".else"]),
    "dependentRequired": ({"dependentRequired": {"a": ["b"]}}, [".dependentRequired"]),
    "dependentSchemas": ({"dependentSchemas": {"a": NULL}}, [".dependentSchemas"]),
    "dependencies": ({"dependencies": {"a": ["b"]}}, [".dependencies"]),
    "contains": ({"contains": NULL, "minContains": 2}, [".contains", ".minContains"]),
    "unevaluatedProperties": ({"unevaluatedProperties": False}, [".unevaluatedProperties"]),
    "unevaluatedItems": ({"unevaluatedItems": False}, [".unevaluatedItems"]),
    "$dynamicRef": ({"$dynamicRef": "#here", "$dynamicAnchor": "here"}, [".$dynamicRef"]),
    "look-ahead": ({"type": "string", "pattern": "^(?!a)"}, [".pattern"]),
    "backreference": ({"type": "string", "pattern": r"(a)\1"}, [".pattern"]),
    "edge of a word": ({"type": "string", "pattern": r"\ba"}, [".pattern"]),
    "open group": ({"type": "string", "pattern": "(a"}, [".pattern"]),
    "format": ({"type": "string", "format": "uri-reference"}, [".format"]),
    "format without a known type": ({"type": "text", "format": "regex"}, [".type", ".format"]),
    "overlapping oneOf": ({"oneOf": [TEXT, {"minLength": 2}]}, [".oneOf"]),
    "$ref to a URL": ({"$ref": URL}, [".$ref"]),
    "$ref to nothing": ({"properties": {"a": {"$ref": "#/$defs/b"}}}, [".properties.a.$ref"]),
    "fault of a definition": ({"$ref": "#/$defs/a", "$defs": {"a": {"not": {}}}}, [".$defs.a.not"]),
    "propertyNames": ({"properties": {"a": {}}, "propertyNames": {"pattern": "^a"}}, [".propertyNames"]),
    "type in capitals": ({"type": "OBJECT", "properties": {"a": {"type": ["STRING", "Null"]}}}, []),
    "type of another language": ({"type": "float"}, [".type"]),
    "no type": ({"type": []}, [".type"]),
    "type null": ({"type": None}, [".type"]),
    "number as text": ({"type": "string", "minLength": "3"}, [".minLength"]),
    "required of draft 3": ({"properties": {"a": {"type": "string", "required": True}}}, [".properties.a.required"]),
    "empty enum": ({"enum": []}, [".enum"]),
    "properties as a list": ({"type": "object", "properties": []}, [".properties"]),
    "property that is no schema": ({"properties": {"a": "string"}}, [".properties.a"]),
    "items that are no schema": ({"items": 5}, [".items"]),
    "branch that is no schema": ({"anyOf": [TEXT, 5]}, [".anyOf[1]"]),
    "no branches": ({"anyOf": [], "oneOf": {}}, [".anyOf", ".oneOf"]),
    "format that is no text": ({"format": 5}, [".format"]),
    "counts": ({"properties": {"a": {}}, "minProperties": 1}, [".minProperties"]),
    "patterns of names": ({"patternProperties": {"(?!a)": {}}}, [".patternProperties.(?!a)"]),
    "names that overlap": ({"patternProperties": {"^a": {}, "b": NULL}}, [".patternProperties"]),
    "bound that is no number": ({"minimum": "1", "exclusiveMinimum": True}, [".minimum"]),
}


@pytest.mark.parametrize("kind", PARTS)
def test_a_part_that_cannot_be_enforced_is_listed(kind: str) -> None:
    schema, parts = PARTS[kind]
    assert listed(schema) == parts
    nested = {"type": "object", "properties": {"x": {"type": "array", "items": schema}}}
    if "$ref" not in schema:
        assert listed(nested) == [f".properties.x.items{part}" for part in parts]


@pytest.mark.parametrize("kind", [kind for kind, (_, parts) in PARTS.items() if parts and kind != "counts"])
def test_the_same_part_of_a_strict_schema_is_an_error(kind: str) -> None:
    schema, parts = PARTS[kind]
    if kind in {"open group", "names that overlap"}:
        return  # only the compiler finds these
    with pytest.raises(InvalidRequest) as caught:
        read_schema(schema, WHERE)
    assert caught.value.param in {WHERE + part for part in parts}


def test_types_in_capitals_are_an_error_of_a_strict_schema_alone() -> None:
    assert allows({"type": "STRING"}, '"a"')
    assert not allows({"type": "STRING"}, "1")
    with pytest.raises(InvalidRequest, match="type"):
        read_schema({"type": "STRING"}, WHERE)


@pytest.mark.parametrize("keyword", sorted(keywords.UNSUPPORTED.keys() - keywords.ANCHORS))
def test_every_unsupported_keyword_has_a_reason(keyword: str) -> None:
    beside = {"if": NULL, "then": NULL, "contains": NULL, keyword: {"a": ["b"]}}
    [reason] = [part.why for part in loose(beside).not_enforced if part.field == f"{WHERE}.{keyword}"]
    assert keyword in reason


@pytest.mark.parametrize("name", sorted(formats.UNSUPPORTED))
def test_a_format_without_a_grammar_is_listed(name: str) -> None:
    assert listed({"type": "string", "format": name}) == [".format"]


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"type": "string", "minLength": 2, "not": {"const": "ab"}}, ['"ab"'], ['"a"', "1"]),
        ({"type": "string", "pattern": "(?=a)", "maxLength": 1}, ['"b"'], ['"bb"']),
        ({"anyOf": [{"type": "array", "uniqueItems": True}, NULL]}, ["[1, 1]", "null"], ["1"]),
        ({"anyOf": [{"type": "string", "pattern": "(?=a)"}, NULL]}, ['"b"', "null"], ["1"]),
        ({"oneOf": [TEXT, {"type": "string", "minLength": 2}, NULL]}, ['"ab"', "null"], ["1"]),
        ({"oneOf": [{"type": "STRING"}, {"type": "string", "maxLength": 1}]}, ['"ab"'], ["1"]),
        ({"type": "object", "properties": [], "additionalProperties": False}, ['{"a": 1}', "{}"], ["1"]),
        ({"properties": {"a": {"type": "any"}}, "required": ["a"]}, ['{"a": 1}'], ["{}"]),
        (
            {"patternProperties": {"^(?!x)": {}, "^y": NULL}, "additionalProperties": False},
            ['{"a": 1}', '{"y": null}'],
            ['{"y": 1}'],
        ),
        ({"type": "array", "items": NULL, "prefixItems": 5}, ["[1]"], ["1"]),
        ({"properties": {"a": NULL}, "$ref": URL}, ['{"b": 1}'], ['{"a": 1}']),
        ({"properties": {"a": NULL}, "minProperties": 1, "required": ["a"]}, ['{"a": null}'], ["{}"]),
        ({"properties": {"a": NULL}, "maxProperties": 1}, ["{}", '{"a": null}'], ['{"a": 1}']),
    ],
)
def test_the_rest_is_enforced_and_is_no_stricter(schema: Any, right: list[str], wrong: list[str]) -> None:
    assert [text for text in right if not allows(schema, text)] == []
    assert [text for text in wrong if allows(schema, text)] == []


def test_keywords_that_depend_on_a_part_that_is_left_out_are_listed_too() -> None:
    assert listed({"properties": [], "additionalProperties": False}) == [".properties", ".additionalProperties"]
    assert listed({"items": NULL, "prefixItems": 5}) == [".prefixItems", ".items"]


def test_a_count_that_required_properties_reach_has_no_effect() -> None:
    assert listed({"properties": {"a": {}, "b": {}}, "required": ["a"], "minProperties": 1}) == []


@pytest.mark.parametrize(
    ("schema", "is_open"),
    [
        ({"if": NULL, "then": {"required": ["a"]}}, False),
        ({"if": NULL, "then": {"properties": {"a": NULL}}}, False),
        ({"if": NULL, "then": {"properties": {"b": {}}}}, True),
        ({"if": NULL, "then": {"allOf": [{"$ref": "#/$defs/b"}]}}, True),
        ({"$ref": URL}, True),
        ({"unevaluatedProperties": False}, False),
        ({"unevaluatedProperties": {"type": "string"}}, True),
        ({"dependentSchemas": {"a": {"patternProperties": {"b": {}}}}}, True),
        ({"if": NULL, "then": [[]] * 300}, True),
    ],
)
def test_properties_that_a_left_out_part_may_declare_are_allowed(schema: dict[str, Any], is_open: bool) -> None:
    tool = CallableTool("f", {"properties": {"a": {}}, **schema}, is_strict=False)
    assert isinstance(tool.schema.root, dict)
    assert (tool.schema.root["additionalProperties"] != False) == is_open  # noqa: E712 - {} is falsy too


def with_optional(count: int) -> dict[str, Any]:
    names = [f"p{number}" for number in range(count)]
    return {
        "type": "object",
        "properties": dict.fromkeys(names, NULL),
        "required": ["p0"],
        "additionalProperties": False,
    }


def test_of_too_many_properties_the_required_ones_are_enforced() -> None:
    schema = with_optional(MAX_OPTIONAL + 2)
    assert listed(schema) == [".properties", ".additionalProperties"]
    assert allows(schema, '{"p0": null, "p1": 1}')
    assert not allows(schema, '{"p0": 1}')


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = NULL
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


ENDLESS = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {f"p{number}": {} for number in range(MAX_NODES)}},
        {"type": "object", "properties": {"a": nested(MAX_DEPTH)}},
        {"type": "object", "properties": {"a": nested(400)}},
        {"type": "object", "enum": [{"a": "x" * 1_000_000}]},
        {"type": "object", "propertyNames": {"$ref": "#/propertyNames"}},
        {**ENDLESS},
        {"$defs": {f"d{number}": {} for number in range(3000)}, "type": "object",
         "allOf": [{"$ref": f"#/$defs/d{number}"} for number in range(3000)]},
    ],
    ids=["wide", "deep", "deeper", "long", "names without end", "endless", "definitions"],
)  # fmt: skip
def test_a_schema_out_of_bounds_is_listed_as_a_whole(schema: Any) -> None:
    read = loose(schema)
    assert [part.field for part in read.not_enforced] == [WHERE]
    assert read.root == {"type": "object"}


def test_a_schema_that_nothing_satisfies_is_listed_as_a_whole() -> None:
    assert loose({"allOf": [False]}) == Schema({}, {}, (NotEnforced(WHERE, "Nothing satisfies this schema."),))


def test_what_is_listed_is_short_and_little() -> None:
    deep: Any = {"not": {}}
    for _ in range(40):
        deep = {"properties": {"n" * 1000: deep}}
    many = {"properties": {f"p{number}": {"not": {}} for number in range(2000)}, "required": []}
    assert len(many["properties"]) > MAX_OPTIONAL
    assert max(len(part.field) for part in loose(deep).not_enforced) == MAX_TEXT
    parts = loose(many).not_enforced
    assert len(parts) == MAX_LISTED + 1
    assert parts[-1].field == WHERE
    assert len(loose({"$ref": "x" * 10_000}).not_enforced[0].why) == MAX_TEXT


def test_names_behind_a_chain_of_references_are_read() -> None:
    chain = {"allOf": [{"$ref": "#/$defs/a"}]}
    schema = {"propertyNames": chain, "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"pattern": "^a"}}}
    assert allows(schema, '{"ab": 1}')
    assert not allows(schema, '{"b": 1}')


@pytest.mark.parametrize("pattern", ["^a$", "(a|b)+", "[a-z]{2,5}", r"\d+\.\d", "(?:a)(?<n>a)", "(?i:a)", "a**", ""])
def test_a_pattern_of_the_dialect_is_readable(pattern: str) -> None:
    assert is_readable(pattern)


@pytest.mark.parametrize(
    "pattern", ["(a", "a)", "[a", "*a", "a{2", "a{2,1}", r"\Z", "(?>a)", "(?#c)", "[]", "[^]", "[z-a]", r"\x4", r"[\b]"]
)
def test_a_pattern_that_does_not_compile_is_not_readable(pattern: str) -> None:
    assert not is_readable(pattern)

"""Calls of functions: whatever a model writes under the grammar is read as a call whose arguments are valid."""

import random
from json import loads
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter
from reading import Call, cut, read
from soak.random_schemas import Schemas
from soak.sdk_schemas import SDK_TYPES
from walks import Walk, admits, numbers

from localrouter.chat.families.family import Family
from localrouter.chat.families.gemma import GEMMA4 as GEMMA
from localrouter.chat.families.qwen import QWEN3 as QWEN
from localrouter.chat.families.qwen import QWEN3_CODER as CODER
from localrouter.chat.grammar.callable_tool import CallableTool
from localrouter.chat.grammar.output_grammar import OutputRules, output_grammar
from localrouter.errors import InvalidRequest

QWEN_MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
GEMMA_MARKS = ("<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", '<|"|>')

FAMILIES: list[tuple[Family, tuple[str, ...]]] = [
    (family, tokens)
    for family, marks in ((QWEN, QWEN_MARKS), (CODER, QWEN_MARKS), (GEMMA, GEMMA_MARKS))
    for tokens in (marks, ())
]
IDS = [f"{family.name}{' with tokens' if marks else ''}" for family, marks in FAMILIES]
ENDINGS = {
    "json": ('"', "}", "]"),
    "parameters": ("\n</parameter>\n", "</function>\n", '"', "}", "]"),
    "gemma": ('<|"|>', "}", "]", ":0"),
}
"""What a tired walk tries to write."""
every_family = pytest.mark.parametrize(("family", "marks"), FAMILIES, ids=IDS)


def calls_of(schemas: dict[str, Any], family: Family, marks: tuple[str, ...], seeds: range) -> list[Call]:
    """The calls of the walks that ended by themselves, as they are read when they come in pieces."""
    tools = [CallableTool(name, schema) for name, schema in schemas.items()]
    grammar = output_grammar(OutputRules(tools=tools, must_call=True), family, numbers(marks)).lark
    assert grammar is not None
    texts = [Walk(grammar, seed, marks, ENDINGS[family.syntax]).text() for seed in seeds]
    return [call for text in texts if text is not None for call in calls_in(text, schemas, family)]


def calls_in(text: str, schemas: dict[str, Any], family: Family) -> list[Call]:
    """The calls of an answer that has nothing else, and comes in pieces."""
    draw = random.Random(text)
    message = read(family, *cut(text, [draw.randrange(len(text)) for _ in range(len(text) // 3)]), tools=schemas)
    assert (message.reasoning, message.content) == ("", ""), text
    assert len(message.calls) == text.count(family.call.begin)
    assert all(call.complete for call in message.calls), text
    return message.calls


@every_family
@pytest.mark.parametrize("block", range(4))
def test_arguments_satisfy_random_schemas(family: Family, marks: tuple[str, ...], block: int) -> None:
    made = 0
    for seed in range(block * 25, block * 25 + 25):
        schemas = {"first": Schemas(seed).object_document(), "second": Schemas(seed + 1000).object_document()}
        for call in calls_of(schemas, family, marks, range(3)):
            Draft202012Validator(schemas[call.name]).validate(loads(call.arguments))
            made += 1
    assert made >= 60


@every_family
@pytest.mark.parametrize("name", [name for name, kind in SDK_TYPES.items() if hasattr(kind, "model_json_schema")])
def test_arguments_satisfy_models_of_sdk_helpers(family: Family, marks: tuple[str, ...], name: str) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(SDK_TYPES[name])
    schema = adapter.json_schema()
    calls = calls_of({"call": schema}, family, marks, range(6))
    assert len(calls) >= 3
    for call in calls:
        Draft202012Validator(schema).validate(loads(call.arguments))
        adapter.validate_json(call.arguments)


def grammar_of(family: Family, parameters: dict[str, Any] | None) -> str:
    made = output_grammar(OutputRules(tools=[CallableTool("f", parameters)], must_call=True), family, {}).lark
    assert made is not None
    return made


def as_parameters(*pairs: tuple[str, str]) -> str:
    inner = "".join(f"<parameter={name}>\n{value}\n</parameter>\n" for name, value in pairs)
    return f"<tool_call>\n<function=f>\n{inner}</function>\n</tool_call>"


def as_gemma(inner: str) -> str:
    return f"<|tool_call>call:f{{{inner}}}<tool_call|>"


@pytest.mark.parametrize("family", [QWEN, CODER, GEMMA], ids=lambda family: family.name)
def test_a_function_without_parameters_takes_no_arguments(family: Family) -> None:
    texts = {
        "json": ['<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>', '{"name": "f", "arguments": {"a": 1}}'],
        "parameters": [as_parameters(), as_parameters(("a", "1"))],
        "gemma": [as_gemma(""), as_gemma("a:1")],
    }
    right, wrong = texts[family.syntax]
    for parameters in (None, {"type": "object", "properties": {}}):
        assert admits(grammar_of(family, parameters), right)
        assert not admits(grammar_of(family, parameters), wrong)


@pytest.mark.parametrize("family", [QWEN, CODER, GEMMA], ids=lambda family: family.name)
@pytest.mark.parametrize("others", [{}, {"additionalProperties": True}], ids=["closed", "open"])
def test_a_function_takes_what_it_declares_and_more_only_if_it_says_so(family: Family, others: dict[str, Any]) -> None:
    texts = {
        "json": '<tool_call>\n{"name": "f", "arguments": {"b": 1}}\n</tool_call>',
        "parameters": as_parameters(("b", "1")),
        "gemma": as_gemma("b:1"),
    }
    grammar = grammar_of(family, {"type": "object", "properties": {"a": {}}, **others})
    assert admits(grammar, texts[family.syntax]) == bool(others)


@pytest.mark.parametrize("family", [QWEN, CODER, GEMMA], ids=lambda family: family.name)
def test_what_a_function_requires_it_takes_though_it_declares_other_properties_alone(family: Family) -> None:
    texts = {
        "json": '<tool_call>\n{"name": "f", "arguments": {"b": 1}}\n</tool_call>',
        "parameters": as_parameters(("b", "1")),
        "gemma": as_gemma("b:1"),
    }
    grammar = grammar_of(family, {"type": "object", "properties": {"a": {}}, "required": ["b"]})
    assert admits(grammar, texts[family.syntax])
    assert not admits(grammar, texts[family.syntax].replace("b", "c", 1))


def test_an_object_that_declares_nothing_takes_any_argument() -> None:
    anything = {"type": "object"}
    assert admits(grammar_of(QWEN, anything), '<tool_call>\n{"name": "f", "arguments": {"a": [1]}}\n</tool_call>')
    assert admits(grammar_of(CODER, anything), as_parameters(("a", "[1]"), ("b", "two\nlines")))
    assert admits(grammar_of(GEMMA, anything), as_gemma('a:[1],b:{c:<|"|>d<|"|>}'))


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"type": "string"}, ["", "a", " a\n\n b ", "</param", "5", '"'], ["a</parameter>b"]),
        ({"type": "integer"}, ["5", "-5"], ["", "5.5", " 5", '"5"', "five"]),
        ({"type": "string", "enum": ["a", "b c"]}, ["a", "b c"], ["", "b", '"a"']),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "a\nb"], ["a", "abcd"]),
        ({"type": "string", "format": "date"}, ["2024-02-29"], ["2023-02-29", "today", "2024-2-1"]),
        ({"type": ["string", "null"]}, ["null", "nul", "nulls", ""], ["a</parameter>"]),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, ["5", "5 apples", "five"], []),
        ({"anyOf": [{"type": "integer", "minimum": 3}, {"type": "string"}]}, ["5", "five"], ["2"]),
        ({"enum": [1, "a"]}, ["1", "a"], ["2", "b"]),
        ({"enum": [1, "1", "2"]}, ["1"], ["2"]),
        ({"allOf": [{"enum": ["a", "b"]}, {"enum": ["b", "c"]}]}, ["b"], ["a", "c"]),
        ({"type": "string", "enum": ["a", "bb", 3], "minLength": 2}, ["bb"], ["a", "3"]),
        ({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "null"}}]}, ["[null]", "a["], ["[1]"]),
        ({"type": "boolean"}, ["true"], ["True", "1"]),
        ({"$ref": "#/$defs/list"}, ["[]", "[[], [[]]]"], ["[1]"]),
    ],
)
def test_parameters_are_text_where_they_are_strings_and_json_elsewhere(
    schema: dict[str, Any], right: list[str], wrong: list[str]
) -> None:
    definitions = {"list": {"type": "array", "items": {"$ref": "#/$defs/list"}}}
    grammar = grammar_of(CODER, {"type": "object", "properties": {"a": schema}, "$defs": definitions})
    assert [text for text in right if not admits(grammar, as_parameters(("a", text)))] == []
    assert [text for text in wrong if admits(grammar, as_parameters(("a", text)))] == []


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"type": "string"}, ['<|"|><|"|>', '<|"|>a"\n<|"|>', '<|"|><|"<|"|>'], ["a", '"a"']),
        ({"type": "integer", "minimum": 3}, ["3", "12"], ["2", "3.5", '<|"|>3<|"|>']),
        (
            {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 2},
            ["[1]", "[1,2]"],
            ["[]", "[1, 2]"],
        ),
        ({"type": "array", "prefixItems": [{"type": "null"}], "items": False}, ["[]", "[null]"], ["[null,null]"]),
        ({"type": "object", "properties": {"z": {}, "b c": {}}}, ['{<|"|>b c<|"|>:1,z:null}', "{}"], ['{"z":1}']),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, ["{}", "{x:1,y:2}"], ["{x:null}", "{x:1,}"]),
        ({"const": {"k": ["v", 1]}}, ['{k:[<|"|>v<|"|>,1]}'], ["{k:[]}"]),
        ({"$ref": "#/$defs/tree"}, ["{}", "{kids:[{},{kids:[]}]}"], ["{kids:{}}"]),
        ({"type": ["boolean", "null"]}, ["true", "null"], ["None", "1"]),
    ],
)
def test_gemma_writes_bare_keys_and_marked_strings(schema: dict[str, Any], right: list[str], wrong: list[str]) -> None:
    kids = {"type": "array", "items": {"$ref": "#/$defs/tree"}}
    tree = {"type": "object", "properties": {"kids": kids}, "additionalProperties": False}
    grammar = grammar_of(GEMMA, {"type": "object", "properties": {"a": schema}, "$defs": {"tree": tree}})
    assert [text for text in right if not admits(grammar, as_gemma(f"a:{text}"))] == []
    assert [text for text in wrong if admits(grammar, as_gemma(f"a:{text}"))] == []


QUOTED = 'a<|"|>b'


def test_gemma_has_no_way_to_write_its_own_quote_inside_a_value() -> None:
    grammar = grammar_of(GEMMA, {"type": "object", "properties": {"a": {"enum": ["x", QUOTED, {"k": [QUOTED]}]}}})
    assert admits(grammar, as_gemma('a:<|"|>x<|"|>'))
    assert not admits(grammar, as_gemma(f'a:<|"|>{QUOTED}<|"|>'))
    assert not admits(grammar, as_gemma(f'a:{{k:[<|"|>{QUOTED}<|"|>]}}'))


@pytest.mark.parametrize("properties", [{QUOTED: {}}, {"a": {"const": QUOTED}}, {"a": {"const": {QUOTED: 1}}}])
def test_what_gemma_could_only_write_with_its_quote_inside_is_refused(properties: Any) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        grammar_of(GEMMA, {"type": "object", "properties": properties})
    assert refusal.value.reason == "unsupported_schema"


def test_required_parameters_are_written_and_others_may_be() -> None:
    schema = {"type": "object", "properties": {"a": {}, "b": {"type": "null"}, "c": {}}, "required": ["b"]}
    grammar = grammar_of(CODER, schema)
    assert admits(grammar, as_parameters(("b", "null")))
    assert admits(grammar, as_parameters(("a", "x"), ("b", "null"), ("c", "y")))
    assert not admits(grammar, as_parameters(("a", "x")))
    assert not admits(grammar, as_parameters(("b", "null"), ("d", "x")))
    grammar = grammar_of(GEMMA, schema)
    assert admits(grammar, as_gemma("b:null"))
    assert admits(grammar, as_gemma("a:1,b:null,c:2"))
    assert not admits(grammar, as_gemma("a:1"))


def test_alternatives_of_arguments_are_kept_apart() -> None:
    by_id = {"properties": {"id": {"type": "integer"}}, "required": ["id"]}
    by_name = {"properties": {"name": {"type": "string"}}, "required": ["name"]}
    grammar = grammar_of(CODER, {"type": "object", "anyOf": [by_id, by_name]})
    assert admits(grammar, as_parameters(("id", "1")))
    assert admits(grammar, as_parameters(("name", "n")))
    assert not admits(grammar, as_parameters())


def test_what_several_schemas_say_of_one_property_is_all_obeyed() -> None:
    any_of = [{"properties": {"a": {}, "b": {"maxLength": 2}}}, {"properties": {"c": {"type": "null"}}}]
    all_of = [{"properties": {"a": {}, "b": {"type": "string", "minLength": 2}}}, {"anyOf": any_of}]
    for family, text in ((CODER, as_parameters(("b", "{}"))), (GEMMA, as_gemma('b:<|"|>{}<|"|>'))):
        grammar = grammar_of(family, {"type": "object", "allOf": all_of})
        assert admits(grammar, text.replace("{}", "ab"))
        assert admits(grammar, text.replace("{}", "abcd"))  # by the second alternative
        assert not admits(grammar, text.replace("{}", "a"))


@pytest.mark.parametrize("family", [CODER, GEMMA], ids=lambda family: family.name)
def test_schemas_that_multiply_without_end_are_refused(family: Family) -> None:
    doubled = {f"d{i}": {"allOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(30)}
    schema = {"$ref": "#/$defs/d0", "$defs": {**doubled, "d30": {"type": "object"}}}
    with pytest.raises(InvalidRequest):
        grammar_of(family, schema)


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "string"},
        {"not": {}},
        {"type": "object", "properties": {"a": {}}, "minProperties": 1},
        {"type": "object", "properties": {"a>b": {}}},
        {"allOf": [{"type": "object", "patternProperties": {"a": {}}}, {"properties": {"b": {}}}]},
    ],
)
def test_what_a_call_cannot_be_held_to_is_refused(parameters: Any) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        output_grammar(OutputRules(tools=[CallableTool("f", parameters, "tools[0].function.parameters")]), CODER, {})
    assert str(refusal.value.param).startswith("tools[0].function.parameters")

"""Calls as each syntax spells them: which text becomes which arguments."""

import json
from typing import Any

import pytest
from reading import Call, Message, Reader, read

from localrouter.chat.families.gemma import GEMMA4
from localrouter.chat.families.qwen import QWEN3, QWEN3_CODER
from localrouter.chat.parsing.parser import Arguments


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ('{"name": "now", "arguments": {"a":  [1.50e+3, "\\u00e9"] }}', '{"a":  [1.50e+3, "\\u00e9"] }'),
        ('{"arguments": {"a": {"name": 1}}, "name": "now"}', '{"a": {"name": 1}}'),
        ('{"name": "now", "parameters": {"a": 1}}', '{"a": 1}'),
        ('{"id": [1, {}], "name": "now", "type": null}', "{}"),
        ('{"name": "n\\u006fw", "arguments": "{\\"a\\": \\"\\\\n\\"}"}', '{"a": "\\n"}'),
    ],
    ids=["verbatim", "arguments first", "parameters", "other keys", "arguments as a string"],
)
def test_calls_in_json(call: str, arguments: str) -> None:
    assert read(QWEN3, *f"<tool_call>{call}</tool_call>") == Message(calls=[Call("now", arguments, True)])


TYPES: list[tuple[Any, str, Any]] = [
    ({"type": "string"}, "5", "5"),
    ({"type": "string"}, "\n  a\n\n", "\n  a\n\n"),
    ({"type": "string"}, "", ""),
    ({}, "5", "5"),
    ({"type": "integer"}, "5", 5),
    ({"type": "number"}, " -1.5e3 ", -1500),
    ({"type": "integer"}, "five", "five"),
    ({"type": "integer"}, "1.5", 1.5),
    ({"type": ["string", "integer"]}, "1.5", "1.5"),
    ({"type": "integer"}, "NaN", "NaN"),
    ({"type": "boolean"}, "True", True),
    ({"type": ["string", "null"]}, "null", None),
    ({"type": ["string", "null"]}, "None", None),
    ({"type": ["string", "null"]}, "5", "5"),
    ({"type": ["string", "number"]}, "5", 5),
    ({"anyOf": [{"type": "string"}, {"type": "array"}]}, '["a"]', ["a"]),
    ({"anyOf": [{"type": "string"}, {"type": "array"}]}, '["a"', '["a"'),
    ({"anyOf": [{"type": "string"}, {}]}, "5", 5),
    ({"oneOf": [{"const": 5}, {"const": "a"}]}, "5", 5),
    ({"enum": ["a", None]}, "null", None),
    ({"enum": ["a", "5"]}, "5", "5"),
    ({"enum": ["a", True]}, "true", True),
    ({"enum": ["a", 1.0]}, "1", 1),
    ({"properties": {"a": {}}}, '{"a": 1}', {"a": 1}),
    ({"allOf": [{"type": "integer"}]}, "5", 5),
    ({"allOf": [{"type": ["string", "integer"]}, {"type": "string"}]}, "5", "5"),
    ({"$ref": "#/$defs/size"}, "5", 5),
    ({"$ref": "#/$defs/tree"}, '{"a": 1}', {"a": 1}),
    ({"$ref": "#/$defs/tree"}, '"a"', "a"),
    ({"$ref": "#/$defs/a~1b"}, "5", 5),
    ({"$ref": "#/$defs/nowhere"}, "5", "5"),
    ({"$ref": "#anchor"}, "5", "5"),
    ({"type": "object"}, '{"a": "\\n"}', {"a": "\n"}),
]


@pytest.mark.parametrize(("schema", "text", "value"), TYPES, ids=json.dumps)
def test_the_schema_tells_text_from_json(schema: Any, text: str, value: Any) -> None:
    defs = {
        "size": {"type": "integer"},
        "a/b": {"type": "integer"},
        "tree": {
            "anyOf": [
                {"type": "object"},
                {"type": "array", "items": {"$ref": "#/$defs/tree"}},
                {"$ref": "#/$defs/tree"},
            ]
        },
    }
    tools = {"f": {"type": "object", "properties": {"a": schema}, "$defs": defs}}
    answer = f"<tool_call>\n<function=f>\n<parameter=a>\n{text}\n</parameter>\n</function>\n</tool_call>"

    (call,) = read(QWEN3_CODER, *answer, tools=tools).calls

    assert json.loads(call.arguments) == {"a": value}


@pytest.mark.parametrize(
    "parameters",
    [
        {"$ref": "#/$defs/root", "$defs": {"root": {"properties": {"a": {"type": "integer"}}}}},
        {"allOf": [{"properties": {"a": {"type": "integer"}}}]},
        {"anyOf": [{"$ref": "#"}, {"properties": {"a": {"type": "integer"}}}]},
        {"additionalProperties": {"type": "integer"}},
        {"patternProperties": {"^a": {"type": "integer"}}, "additionalProperties": False},
    ],
    ids=["by reference", "combined", "recursive", "additional", "by pattern"],
)
def test_properties_are_found_wherever_they_are_declared(parameters: Any) -> None:
    answer = "<tool_call><function=f><parameter=a>5</parameter></function></tool_call>"

    assert read(QWEN3_CODER, answer, tools={"f": parameters}).calls == [Call("f", '{"a": 5}', True)]


def test_a_schema_of_any_depth_is_only_looked_at_as_far_as_it_takes() -> None:
    deep: dict[str, Any] = {"type": "integer"}
    for _ in range(2000):
        deep = {"anyOf": [deep]}
    circle = {str(number): {"anyOf": [{"$ref": f"#/$defs/{number + 1}"}] * 2} for number in range(2000)}
    tools = {"f": {"allOf": [deep], "properties": {"a": deep, "b": {"$ref": "#/$defs/0"}}, "$defs": circle}}
    arguments = "<parameter=a>[1]</parameter><parameter=b>[1]</parameter>"

    (call,) = read(QWEN3_CODER, f"<tool_call><function=f>{arguments}</function></tool_call>", tools=tools).calls

    assert json.loads(call.arguments) == {"a": [1], "b": [1]}


def test_an_argument_that_some_branch_says_nothing_of_may_be_text() -> None:
    branches = [{"properties": {"a": {"type": "integer"}}}, {"properties": {"a": {}}}]
    answer = '<tool_call><function=f><parameter=a>"5"</parameter></function></tool_call>'

    (call,) = read(QWEN3_CODER, answer, tools={"f": {"anyOf": branches}}).calls

    assert json.loads(call.arguments) == {"a": '"5"'}


def test_text_is_passed_on_as_it_comes() -> None:
    reader = Reader(QWEN3_CODER)
    reader.feed("<tool_call><function=get_weather><parameter=city>\n")

    assert [reader.feed(piece) for piece in ['"Pa', "ris\n", "<b>\n</par", "ameter>"]] == [
        [Arguments(0, '\\"Pa')],
        [Arguments(0, "ris")],
        [Arguments(0, "\\n<b>")],
        [Arguments(0, '"')],
    ]


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ('a:<|"|>x{},:<|"|>', {"a": "x{},:"}),
        ("a:{b:{c:[[],{}]}},d:-1.5e3,e:true,f:null", {"a": {"b": {"c": [[], {}]}}, "d": -1500, "e": True, "f": None}),
        (' a : 1 , <|"|>b:c<|"|> : [ 1 , 2 ] ', {"a": 1, "b:c": [1, 2]}),
        ('"a": "b\\n", "c": None', {"a": "b\n", "c": None}),
        ('ids[]:1,x y:<|"|><|"|>', {"ids[]": 1, "x y": ""}),
    ],
    ids=["a string", "nested", "white space", "as JSON", "odd keys"],
)
def test_calls_of_gemma(body: str, value: Any) -> None:
    (call,) = read(GEMMA4, *f"<|tool_call>call:now{{{body}}}<tool_call|>").calls

    assert call.complete
    assert json.loads(call.arguments) == value

"""Tools whose schemas are not strict, in each syntax of calls."""

from typing import Any

import pytest
from walks import admits, matcher, numbers

from localrouter.chat.families.gemma import GEMMA4
from localrouter.chat.families.qwen import QWEN3, QWEN3_CODER
from localrouter.chat.grammar.callable_tool import CallableTool
from localrouter.chat.grammar.output_grammar import JsonSchema, OutputRules, output_grammar
from localrouter.errors import InvalidRequest

PLACE = "tools[0].function.parameters"
URL = "https://example.com/schema.json"
TEXT = {"type": "string"}
NULL = {"type": "null"}
FAMILIES = [QWEN3, QWEN3_CODER, GEMMA4]
every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


def tool(parameters: Any) -> OutputRules:
    return OutputRules(tools=[CallableTool("f", parameters, PLACE, is_strict=False)], must_call=True)


@every_family
@pytest.mark.parametrize(
    "schema",
    [{"type": "string"}, {"type": ["array", "null"]}, {"enum": [1]}, {"const": "a"}, {"allOf": [{"not": True}, False]}],
)
def test_arguments_that_are_no_object_may_be_any_object(family: Any, schema: Any) -> None:
    output = output_grammar(tool(schema), family, {})
    assert [part.field for part in output.not_enforced][-1:] == [PLACE]
    assert output.lark is not None
    matcher(output.lark)


@every_family
def test_a_schema_of_which_nothing_can_be_enforced_is_any_object(family: Any) -> None:
    output = output_grammar(tool({"$ref": URL}), family, {})
    assert [part.field for part in output.not_enforced] == [f"{PLACE}.$ref"]
    assert output.lark is not None
    matcher(output.lark)


def test_a_tool_without_faults_lists_nothing() -> None:
    for family in FAMILIES:
        assert output_grammar(tool({"type": "object", "properties": {"a": TEXT}}), family, {}).not_enforced == ()
        assert output_grammar(tool(None), family, {}).not_enforced == ()


JOINED = {"allOf": [{"type": "integer", "multipleOf": 2}, {"multipleOf": 3}]}
BEYOND: dict[str, tuple[Any, dict[str, Any], list[str]]] = {
    "a conjunction": (
        QWEN3_CODER,
        {"properties": {"a": JOINED, "n": {"type": "integer"}}},
        [".properties.a"],
    ),
    "a name with a bracket": (QWEN3_CODER, {"properties": {"a>b": TEXT, "n": TEXT}}, [".properties.a>b"]),
    "patterns beside properties": (
        QWEN3_CODER,
        {"properties": {"n": TEXT}, "patternProperties": {"^x": TEXT}},
        [".patternProperties"],
    ),
    "a conjunction in Gemma's calls": (GEMMA4, {"properties": {"a": JOINED}}, [".properties.a"]),
    "a quote in a value": (GEMMA4, {"properties": {"a": {"const": '<|"|>'}}}, [".properties.a"]),
    "a quote in a name": (GEMMA4, {"properties": {'<|"|>': TEXT}}, ['.properties.<|"|>']),
}


@pytest.mark.parametrize("kind", BEYOND)
def test_a_property_beyond_a_syntax_of_calls_is_listed_alone(kind: str) -> None:
    family, schema, parts = BEYOND[kind]
    output = output_grammar(tool(schema), family, {})
    assert [part.field.removeprefix(PLACE) for part in output.not_enforced] == parts
    assert output.lark is not None
    matcher(output.lark)
    with pytest.raises(InvalidRequest):
        output_grammar(OutputRules(tools=[CallableTool("f", schema, PLACE)], must_call=True), family, {})


def test_other_properties_of_such_a_tool_are_enforced() -> None:
    schema = {"properties": {"a": {"const": '<|"|>'}, "n": {"type": "integer"}}, "required": ["n"]}
    lark = output_grammar(tool(schema), GEMMA4, {}).lark
    assert lark is not None
    begin, end = GEMMA4.call.begin, GEMMA4.call.end
    assert admits(lark, f"{begin}call:f{{a:5,n:1}}{end}")
    assert not admits(lark, f"{begin}call:f{{a:5,n:true}}{end}")


def test_a_strict_tool_beside_a_loose_one_is_still_an_error() -> None:
    tools = [
        CallableTool("f", {"not": {}}, "tools[0].function.parameters", is_strict=False),
        CallableTool("g", {"not": {}}, "tools[1].function.parameters"),
    ]
    with pytest.raises(InvalidRequest) as caught:
        output_grammar(OutputRules(tools=tools), QWEN3, {})
    assert caught.value.param == "tools[1].function.parameters.not"


def test_equal_values_of_several_tools_share_their_rules() -> None:
    schema = {"type": "object", "properties": {f"p{number}": TEXT for number in range(20)}}
    for family in FAMILIES:
        tools = [CallableTool(f"f{number}", schema) for number in range(50)]
        one, many = (output_grammar(OutputRules(tools=some), family, {}).lark for some in (tools[:1], tools))
        assert one is not None
        assert many is not None
        assert len(many) < len(one) + 50 * 1000


def test_requests_with_other_tools_have_other_grammars() -> None:
    """Grammars of recent tools are remembered."""
    schemas = [{"properties": {"a": TEXT, "b": NULL}}, {"properties": {"b": NULL, "a": TEXT}}, {"not": {}}]
    rules = [tool(schema) for schema in schemas] + [OutputRules(tools=tool(schemas[0]).tools)]
    outputs = [output_grammar(each, QWEN3, {}) for each in rules]
    assert len({output.lark for output in outputs}) == len(outputs)
    assert [output_grammar(each, QWEN3, {}) for each in rules] == outputs


def test_relaxed_rules_enforce_nothing_of_loose_schemas() -> None:
    strict = CallableTool("g", {"type": "object", "properties": {"a": NULL}, "required": ["a"]})
    loose_tool = CallableTool("f", {"type": "object", "required": ["a"]}, PLACE, is_strict=False)
    content = JsonSchema({"type": "array", "maxItems": 0}, "response_format", is_strict=False)
    rules = OutputRules(content, tools=[loose_tool, strict]).unenforced("It does not compile.")
    assert rules is not None
    output = output_grammar(rules, QWEN3, numbers(()))
    assert [(part.field, part.why) for part in output.not_enforced] == [
        ("response_format", "It does not compile."),
        (PLACE, "It does not compile."),
    ]
    assert output.lark is not None
    assert admits(output.lark, "[1]")
    assert not admits(output.lark, "1")
    assert not admits(output.lark, '<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>')
    assert OutputRules(tools=[strict]).unenforced("") is None

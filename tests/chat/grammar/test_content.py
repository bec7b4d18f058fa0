"""Content in a promised form: whatever a model writes under the grammar is valid."""

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter
from soak.random_schemas import Schemas
from soak.sdk_schemas import SDK_TYPES
from walks import Walk, admits

from localrouter.chat.families.family import Delimiters, Family
from localrouter.chat.grammar.output_grammar import ANY_OBJECT, JsonSchema, Lark, OutputRules, Regex, output_grammar

FAMILY = Family("qwen", Delimiters("<think>", "</think>"), Delimiters("<tool_call>", "</tool_call>"), "json")


def grammar_of(schema: Any) -> str:
    made = output_grammar(OutputRules(JsonSchema(schema)), FAMILY, {}).lark
    assert made is not None
    return made


def answers(schema: Any, seeds: range) -> list[Any]:
    """The values of the walks that ended by themselves."""
    grammar = grammar_of(schema)
    texts = [Walk(grammar, seed).text() for seed in seeds]
    return [json.loads(text) for text in texts if text is not None]


@pytest.mark.parametrize("block", range(20))
def test_answers_satisfy_random_schemas(block: int) -> None:
    ended = 0
    for seed in range(block * 25, block * 25 + 25):
        schema = Schemas(seed).document()
        for value in answers(schema, range(3)):
            Draft202012Validator(schema).validate(value)
            ended += 1
    assert ended >= 60  # of 75


@pytest.mark.parametrize("name", SDK_TYPES)
def test_answers_satisfy_the_schemas_of_sdk_helpers(name: str) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(SDK_TYPES[name])
    schema = adapter.json_schema()
    values = answers(schema, range(6))
    assert len(values) >= 3
    for value in values:
        Draft202012Validator(schema).validate(value)
        adapter.validate_json(json.dumps(value))


def test_any_object_is_one_json_object() -> None:
    grammar = grammar_of(ANY_OBJECT)
    assert admits(grammar, '{"a": [1, {"b": null}]}')
    assert not admits(grammar, "[]")
    assert not admits(grammar, '{"a": 1} and more')


def test_white_space_between_the_parts_of_json_is_bounded() -> None:
    grammar = grammar_of({"type": "array", "items": {"type": "integer"}})
    assert admits(grammar, "[\n    1,\n    2\n]")
    assert admits(grammar, "[1, 2]")
    assert not admits(grammar, "[1,  2]")
    assert not admits(grammar, "[\n\n1]")


@pytest.mark.parametrize("pattern", [r"\d+ (apples|pears)", r"^\d+ (apples|pears)$"])
def test_a_regular_expression_is_all_of_the_content(pattern: str) -> None:
    grammar = output_grammar(OutputRules(Regex(pattern)), FAMILY, {}).lark
    assert grammar is not None
    assert admits(grammar, "12 apples")
    assert not admits(grammar, "I have 12 apples")


def test_the_clients_own_grammar_is_taken_as_it_is() -> None:
    own = 'start: "a" thing\nthing: "b" // a comment'
    assert output_grammar(OutputRules(Lark(own)), FAMILY, {}).lark == own


def test_the_clients_own_grammar_may_follow_reasoning_and_have_any_names() -> None:
    own = 'start: thought_0 TEXT\nthought_0: "a"\nTEXT: "b" // }'
    grammar = output_grammar(OutputRules(Lark(own), reasoning="optional"), FAMILY, {}).lark
    assert grammar is not None
    assert admits(grammar, "ab")
    assert admits(grammar, "<think>hm</think>\n\nab")
    assert not admits(grammar, "<think>hm</think>ba")

"""Properties of schemas that are not strict: for any schema, however wrong, there is a grammar that is no stricter."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from reading import read
from soak.random_schemas import Schemas
from walks import Walk, admits

from localrouter.chat.families.family import Family
from localrouter.chat.families.gemma import GEMMA4
from localrouter.chat.families.qwen import QWEN3, QWEN3_CODER
from localrouter.chat.grammar import keywords
from localrouter.chat.grammar.callable_tool import CallableTool
from localrouter.chat.grammar.json_schema import Schema, read_schema
from localrouter.chat.grammar.output_grammar import OutputRules, output_grammar
from localrouter.chat.grammar.references import Steps
from localrouter.chat.grammar.schema_fault import place
from localrouter.chat.parsing.schema_kinds import argument_kinds
from localrouter.chat.request.shown_schema import shown_schema

KEYWORDS = sorted(keywords.ENFORCED | keywords.UNSUPPORTED.keys() | {"$defs", "$anchor", "definitions", "x-other"})
NAMES = ["a", "b", "a>b", '<|"|>', "", "$ref", "type"]
VALUES = [
    *keywords.TYPES,
    "STRING",
    "date",
    "regex",
    "#",
    "#/$defs/a",
    "#/properties/a",
    "#a",
    "https://a.b",
    "(?=a)",
    "(a",
]
scalars = st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from([0.5, 1e300, *VALUES])
schemas: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
        | st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(st.sampled_from(NAMES), inner)}
        )
    ),
    max_leaves=20,
)
objects = st.dictionaries(st.sampled_from(KEYWORDS), schemas, max_size=6)


@settings(max_examples=100)
@given(objects, st.sampled_from([QWEN3, QWEN3_CODER, GEMMA4]))
def test_any_object_is_read_as_a_schema_and_shown_to_templates(schema: dict[str, Any], family: Any) -> None:
    tool = CallableTool("f", schema, "here", is_strict=False)
    output = output_grammar(OutputRules(tools=[tool]), family, {})
    assert output.lark is not None
    assert all(part.field.startswith("here") for part in output.not_enforced)
    json.dumps(shown_schema(schema))
    argument_kinds(schema, "a")


FAMILIES = [
    (QWEN3, ('"', "}", "]")),
    (QWEN3_CODER, ("\n</parameter>\n", "</function>\n", '"', "}", "]")),
    (GEMMA4, ('<|"|>', "}", "]", ":0")),
]
"""Families, and what a walk writes to come to an end."""
FAULTS: list[dict[str, Any]] = [
    {"not": {"const": "a"}},
    {"uniqueItems": True},
    {"if": {"type": "object"}, "then": {"required": ["x"], "properties": {"x": {}}}},
    {"dependentRequired": {"a": ["b"]}},
    {"dependentSchemas": {"a": {"properties": {"y": {}}}}},
    {"contains": {"type": "null"}},
    {"unevaluatedProperties": False},
    {"$dynamicRef": "#here"},
    {"pattern": "^(?!a)"},
    {"patternProperties": {"^(?!x)": {"type": "null"}}},
    {"minLength": "3"},
    {"required": True},
    {"enum": []},
    {"allOf": {}},
    {"oneOf": "a"},
    {"multipleOf": 0},
]
"""Parts that cannot be enforced."""


def places(schema: Any, steps: Steps = ()) -> Iterator[tuple[dict[str, Any], Steps]]:
    """Yield each schema inside of a schema, with its path."""
    if not isinstance(schema, dict):
        return
    yield schema, steps
    for keyword, value in schema.items():
        if keyword in {"properties", "patternProperties", "$defs"}:
            for name, each in value.items():
                yield from places(each, (*steps, keyword, name))
        elif keyword in {"allOf", "anyOf", "oneOf", "prefixItems"}:
            for index, each in enumerate(value):
                yield from places(each, (*steps, keyword, index))
        elif keyword in {"items", "additionalProperties"}:
            yield from places(value, (*steps, keyword))


def with_faults(schema: Any, draw: random.Random) -> tuple[Any, set[str]]:
    """Return a copy of a schema with parts that cannot be enforced, and their paths."""
    changed = copy.deepcopy(schema)
    added: set[str] = set()
    for part, steps in list(places(changed)):
        fault = draw.choice(FAULTS)
        if draw.random() < 0.4 and not fault.keys() & part.keys():
            part.update(copy.deepcopy(fault))
            inside = ["^(?!x)"] if "patternProperties" in fault else []
            added |= {place("", (*steps, name, *inside)) for name in fault}
    return changed, added


def without(schema: Any, listed: set[str], steps: Steps = ()) -> Any:
    """Return a schema without the parts that are listed."""
    if place("", steps) in listed:
        return True
    if isinstance(schema, list):
        return [without(each, listed, (*steps, index)) for index, each in enumerate(schema)]
    if not isinstance(schema, dict):
        return schema
    kept = {name: each for name, each in schema.items() if place("", (*steps, name)) not in listed}
    if "oneOf" in schema and "oneOf" not in kept and isinstance(schema["oneOf"], list):
        kept["anyOf"] = schema["oneOf"]
    return {name: without(each, listed, (*steps, name)) for name, each in kept.items()}


def texts(schema: Schema, seeds: range) -> list[str]:
    found = [Walk(f"start: {schema.embedded(schema.root)}", seed).text() for seed in seeds]
    return [text for text in found if text is not None]


@pytest.mark.parametrize("block", range(3))
def test_outputs_obey_all_that_is_not_listed_and_all_that_obeys_the_original_is_an_output(block: int) -> None:
    made = 0
    for seed in range(block * 20, block * 20 + 20):
        right = Schemas(seed).document()
        wrong, added = with_faults(right, random.Random(seed))
        loose = read_schema(wrong, "", is_strict=False)
        listed = {part.field for part in loose.not_enforced}
        used = {path for path in added if not path.startswith(".$defs")}
        assert used <= listed, seed
        rest = Draft202012Validator(without(wrong, listed))
        for text in texts(loose, range(3)):
            rest.validate(json.loads(text))
            made += 1
        for text in texts(read_schema(right, ""), range(3)):
            assert admits(f"start: {loose.embedded(loose.root)}", text), (seed, text)
    assert made > 30


@pytest.mark.parametrize(("family", "endings"), FAMILIES, ids=lambda value: getattr(value, "name", ""))
def test_arguments_obey_all_that_is_not_listed(family: Family, endings: tuple[str, ...]) -> None:
    made = 0
    for seed in range(60):
        schema, _ = with_faults(Schemas(seed).object_document(), random.Random(seed))
        tool = CallableTool("f", schema, "", is_strict=False)
        output = output_grammar(OutputRules(tools=[tool], must_call=True, parallel=False), family, {})
        rest = Draft202012Validator(without(schema, {part.field for part in output.not_enforced}))
        assert output.lark is not None
        for text in (Walk(output.lark, number, (), endings).text() for number in range(3)):
            if text is not None:
                [call] = read(family, text, tools={"f": schema}).calls
                rest.validate(json.loads(call.arguments))
                made += 1
    assert made > 60

"""The tools of a request, in both of OpenAI's forms."""

import pytest

from localrouter.chat.request.tool_set import ToolSet, tool_set
from localrouter.errors import InvalidRequest
from localrouter.schema.chat_request import ChatRequest


def tool(name: str, **more: object) -> dict[str, object]:
    return {"type": "function", "function": {"name": name, **more}}


def tools_of(**fields: object) -> ToolSet:
    return tool_set(
        ChatRequest.model_validate({"model": "m", "messages": [{"role": "user", "content": "Hi"}]} | fields)
    )


def callable_names(tools: ToolSet) -> list[str]:
    return [function.name for function in tools.callable]


def named(name: str) -> dict[str, object]:
    return {"type": "function", "function": {"name": name}}


def allowed(mode: str, *names: str) -> dict[str, object]:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [named(name) for name in names]}}


def test_without_tools_nothing_may_be_called() -> None:
    assert tools_of() == tools_of(tools=[]) == tools_of(tool_choice="none") == ToolSet()


@pytest.mark.parametrize(
    ("choice", "names", "must_call"),
    [
        (None, ["a", "b"], False),
        ("auto", ["a", "b"], False),
        ("required", ["a", "b"], True),
        ("none", [], False),
        (named("b"), ["b"], True),
        (allowed("auto", "b"), ["b"], False),
        (allowed("required", "b", "a", "b"), ["b", "a"], True),
    ],
)
def test_a_choice_says_what_may_and_what_must_be_called(choice: object, names: list[str], must_call: bool) -> None:
    tools = tools_of(tools=[tool("a"), tool("b")], tool_choice=choice)

    assert callable_names(tools) == names
    assert tools.must_call == must_call


FLAT = {"type": "function", "name": "b"}


@pytest.mark.parametrize(
    ("choice", "names", "must_call"),
    [
        (FLAT, ["b"], True),
        ({**named("b"), "name": "b"}, ["b"], True),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [FLAT]}}, ["b"], False),
        ({"type": "allowed_tools", "mode": "required", "tools": [FLAT]}, ["b"], True),
    ],
)
def test_a_choice_may_have_the_form_of_the_responses_api(choice: object, names: list[str], must_call: bool) -> None:
    tools = tools_of(tools=[tool("a"), tool("b")], tool_choice=choice)

    assert (callable_names(tools), tools.must_call) == (names, must_call)


def test_a_name_may_have_other_characters_and_be_long() -> None:
    name = "mcp/file system:read.all-" + "x" * 200

    assert callable_names(tools_of(tools=[tool(name), tool("a")], tool_choice=named(name))) == [name]
    assert callable_names(tools_of(functions=[{"name": name}], function_call={"name": name})) == [name]


@pytest.mark.parametrize(
    ("parameters", "shown"),
    [
        ({"type": "object", "properties": []}, {"type": "object"}),
        ({"properties": {"a": True, "b": 5, "c": {"type": 5}}}, {"properties": {"a": {}, "b": {}, "c": {}}}),
        (
            {"properties": {"a": {"type": "STRING", "required": True, "enum": "a", "description": 1}}},
            {"properties": {"a": {"type": "STRING"}}},
        ),
        ({"properties": {"a": {"items": {"properties": 5}}}}, {"properties": {"a": {"items": {}}}}),
        ({"anyOf": [{"enum": 5}, True], "allOf": {}}, {"anyOf": [{}, True]}),
    ],
)
def test_templates_see_no_keyword_of_a_wrong_type(parameters: object, shown: object) -> None:
    """Templates loop over properties, and a template that fails would fail every request with this tool."""
    [function] = tools_of(tools=[tool("a", parameters=parameters)]).shown

    assert function["function"]["parameters"] == shown


def test_a_schema_is_shown_as_it_is() -> None:
    parameters = {"type": "object", "properties": {"type": {"enum": [1]}, "a": {"not": {"x": 1}}}, "required": ["a"]}
    [function] = tools_of(tools=[tool("a", parameters=parameters)]).shown

    assert function["function"]["parameters"] == parameters


def test_the_model_sees_all_tools_whatever_it_may_call() -> None:
    every = tools_of(tools=[tool("a"), tool("b")]).shown

    assert [shown["function"]["name"] for shown in every] == ["a", "b"]
    assert tools_of(tools=[tool("a"), tool("b")], tool_choice=named("a")).shown == every


def test_a_definition_without_description_or_parameters_has_empty_ones() -> None:
    """Templates read both without looking."""
    [shown] = tools_of(tools=[tool("a")]).shown

    assert shown["function"] == {"name": "a", "description": "", "parameters": {"type": "object", "properties": {}}}


def test_parallel_calls_are_allowed_until_they_are_not() -> None:
    assert tools_of(tools=[tool("a")]).parallel
    assert not tools_of(tools=[tool("a")], parallel_tool_calls=False).parallel


@pytest.mark.parametrize(
    ("choice", "names", "must_call"),
    [(None, ["a", "b"], False), ("none", [], False), ("auto", ["a", "b"], False), ({"name": "a"}, ["a"], True)],
)
def test_the_older_form_means_the_same_with_one_call(choice: object, names: list[str], must_call: bool) -> None:
    tools = tools_of(functions=[{"name": "a"}, {"name": "b"}], function_call=choice)

    assert callable_names(tools) == names
    assert (tools.must_call, tools.parallel, tools.is_old_form) == (must_call, False, True)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [tool("a"), tool("b"), tool("a")]}, "tools[2].function.name"),
        ({"functions": [{"name": "a"}, {"name": "a"}]}, "functions[1].name"),
        ({"tools": [tool("a")], "functions": [{"name": "a"}]}, "functions"),
        ({"tools": [tool("a")], "tool_choice": named("b")}, "tool_choice.function.name"),
        ({"tools": [tool("a")], "tool_choice": allowed("auto", "a", "b")}, "tool_choice.allowed_tools.tools"),
        ({"functions": [{"name": "a"}], "function_call": {"name": "b"}}, "function_call.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": named("a")}, "tool_choice"),
        ({"function_call": {"name": "a"}}, "function_call"),
        ({"tools": [tool("a")], "function_call": "none"}, "function_call"),
        ({"functions": [{"name": "a"}], "tool_choice": "required"}, "tool_choice"),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(fields: dict[str, object], param: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        tools_of(**fields)

    assert refusal.value.param == param

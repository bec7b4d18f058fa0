"""Grammars that the engine cannot compile: schemas that are not strict are given up once, and named."""

from typing import Any

import pytest
from fake_engine import FakeEngine, FakeGeneration, HereRenderer, generation

from localrouter.chat.response.chat_completion import Completion
from localrouter.chat.response.text_completion import TextCompletion
from localrouter.errors import InvalidRequest, Overloaded, RequestError
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.text_completions import CompletionRequest

OBJECT = {"type": "object", "properties": {"a": {"type": "integer"}}}


def tool(name: str, *, strict: bool | None = None) -> dict[str, object]:
    return {"type": "function", "function": {"name": name, "parameters": OBJECT, "strict": strict}}


def refused(error: RequestError | None = None) -> FakeGeneration:
    return FakeGeneration([], error or InvalidRequest("too large", code="invalid_grammar"))


async def begun(engine: FakeEngine, **fields: Any) -> Completion:
    body = {"model": "fake", "messages": [{"role": "user", "content": "Hi"}], **fields}
    return await Completion.begin(engine, ChatRequest.model_validate(body), HereRenderer())


def grammars(engine: FakeEngine) -> list[str]:
    return [asked.grammar.lark if asked.grammar else "" for asked in engine.asked]


async def test_tools_that_do_not_compile_are_not_enforced_and_are_listed() -> None:
    engine = FakeEngine(refused(), generation("Hello"))

    completion = await begun(engine, tools=[tool("a"), tool("b", strict=False), tool("c", strict=True)])

    fields = [part.field for part in completion.not_enforced]
    assert fields == ["tools[0].function.parameters", "tools[1].function.parameters"]
    assert all("too large" in part.why for part in completion.not_enforced)
    assert [lark.count("integer") for lark in grammars(engine)] == [1, 1]
    assert grammars(engine)[0] != grammars(engine)[1]


async def test_functions_of_the_older_form_are_named_in_it() -> None:
    completion = await begun(
        FakeEngine(refused(), generation("Hello")), functions=[{"name": "a", "parameters": OBJECT}]
    )

    assert [part.field for part in completion.not_enforced] == ["functions[0].parameters"]


async def test_a_response_format_keeps_its_type() -> None:
    engine = FakeEngine(refused(), generation("{}"))
    form = {"type": "json_schema", "json_schema": {"schema": OBJECT}}

    completion = await begun(engine, response_format=form)

    assert [part.field for part in completion.not_enforced] == ["response_format.json_schema.schema"]
    assert '"type": "object"' in grammars(engine)[1]


async def test_a_raw_prompt_has_a_second_attempt_too() -> None:
    engine = FakeEngine(refused(), generation("{}"))
    form = {"type": "json_schema", "json_schema": {"schema": OBJECT}}
    request = CompletionRequest.model_validate({"model": "fake", "prompt": "a", "response_format": form})

    completion = await TextCompletion.begin(engine, request)

    assert [part.field for part in completion.not_enforced] == ["response_format.json_schema.schema"]
    assert ["integer" in lark for lark in grammars(engine)] == [True, False]


async def test_a_raw_prompt_with_a_strict_schema_has_none() -> None:
    form = {"type": "json_schema", "json_schema": {"schema": OBJECT, "strict": True}}
    request = CompletionRequest.model_validate({"model": "fake", "prompt": "a", "response_format": form})

    with pytest.raises(InvalidRequest) as caught:
        await TextCompletion.begin(FakeEngine(refused()), request)
    assert (caught.value.reason, caught.value.param) == ("invalid_grammar", "response_format")


async def test_all_choices_are_submitted_again() -> None:
    engine = FakeEngine(generation("a"), refused(), generation("b"), generation("c"))

    completion = await begun(engine, tools=[tool("a")], n=2)

    assert [given.cancelled for given in engine.generations] == [1, 1, 0, 0]
    assert len(completion.admission.generations) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [tool("a", strict=True)]},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": OBJECT, "strict": True}}},
        {"response_format": {"type": "json_object"}},
        {"grammar": "start: nothing"},
    ],
)
async def test_a_grammar_without_loose_schemas_is_rejected_at_once(fields: Any) -> None:
    engine = FakeEngine(refused())

    with pytest.raises(InvalidRequest, match="too large"):
        await begun(engine, **fields)

    assert len(engine.asked) == 1


async def test_a_second_refusal_is_an_error() -> None:
    engine = FakeEngine(refused(), refused())

    with pytest.raises(InvalidRequest) as caught:
        await begun(engine, tools=[tool("a")])

    assert (caught.value.param, caught.value.reason) == ("tools", "invalid_grammar")


async def test_other_errors_are_not_tried_again() -> None:
    engine = FakeEngine(refused(Overloaded("full", retry_after=1)))

    with pytest.raises(Overloaded):
        await begun(engine, tools=[tool("a")])

    assert len(engine.asked) == 1

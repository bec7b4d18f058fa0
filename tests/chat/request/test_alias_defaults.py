"""Defaults of an alias: used for fields that a request leaves out, and shown by `explain`."""

import pytest
from fake_engine import FakeEngine, HereRenderer, generation

from localrouter.chat.model_facts import facts_of
from localrouter.chat.response.chat_completion import Completion
from localrouter.chat.response.explanation import explain
from localrouter.chat.response.text_completion import TextCompletion
from localrouter.schema.alias_defaults import NO_DEFAULTS, AliasDefaults
from localrouter.schema.chat_request import ChatRequest
from localrouter.schema.explain import Explanation
from localrouter.schema.text_completions import CompletionRequest

SAMPLING = AliasDefaults((("temperature", 0.7), ("top_k", 20), ("min_p", 0.0), ("presence_penalty", 1.5)))
SYSTEM = AliasDefaults(system="Be brief.")
HI = {"role": "user", "content": "Hi"}


def request(*messages: dict[str, str], **fields: object) -> ChatRequest:
    return ChatRequest.model_validate({"messages": [*messages] or [HI]} | fields)


async def explained(asked: ChatRequest, defaults: AliasDefaults) -> Explanation:
    return await explain(FakeEngine(), asked, HereRenderer(), defaults)


async def test_absent_and_null_fields_take_the_values_of_the_alias() -> None:
    found = await explained(request(top_k=None, seed=3), SAMPLING)
    assert (found.sampling.temperature, found.sampling.top_k, found.sampling.presence_penalty) == (0.7, 20, 1.5)
    assert (found.sampling.top_p, found.sampling.seed) == (1.0, 3)
    assert found.alias_defaults == ["temperature", "top_k", "min_p", "presence_penalty"]
    assert found.steps == []


async def test_a_value_of_the_request_wins_also_where_it_is_zero() -> None:
    found = await explained(request(temperature=0, top_k=0, presence_penalty=0.0), SAMPLING)
    assert (found.sampling.temperature, found.sampling.top_k, found.sampling.presence_penalty) == (0.0, 0, 0.0)
    assert found.alias_defaults == ["min_p"]


async def test_without_defaults_nothing_is_taken_from_the_alias() -> None:
    assert (await explained(request(), NO_DEFAULTS)).alias_defaults == []


async def test_the_system_message_of_the_alias_is_put_first_and_shown_as_a_step() -> None:
    found = await explained(request(), SYSTEM)
    assert found.alias_defaults == ["system"]
    assert [(step.what, step.message) for step in found.steps] == [("alias_system", None)]
    assert (
        found.prompt == (await explained(request({"role": "system", "content": "Be brief."}, HI), NO_DEFAULTS)).prompt
    )


@pytest.mark.parametrize("role", ["system", "developer"])
@pytest.mark.parametrize("place", [0, 1])
async def test_a_request_with_a_system_message_keeps_its_own(role: str, place: int) -> None:
    messages = [HI, HI]
    messages.insert(place, {"role": role, "content": "Mine."})
    found = await explained(request(*messages), SYSTEM)
    assert "alias_system" not in {step.what for step in found.steps}
    assert (found.alias_defaults, "Be brief." in found.prompt) == ([], False)


async def test_steps_keep_the_indices_of_the_request() -> None:
    named = [HI, {**HI, "name": "Ada"}]
    found = await explained(request(*named), SYSTEM)
    assert [(step.what, step.message) for step in found.steps] == [("alias_system", None), ("name_in_text", 1)]


async def test_special_tokens_in_the_system_message_are_text() -> None:
    plain = await explained(request({"role": "system", "content": "<|im_end|>"}, HI), NO_DEFAULTS)
    assert (await explained(request(), AliasDefaults(system="<|im_end|>"))).tokens == plain.tokens


async def test_a_generation_uses_the_same_values() -> None:
    engine = FakeEngine(generation("a"), generation("b"))
    await Completion.begin(engine, request(top_p=0.5), HereRenderer(), SAMPLING)
    await TextCompletion.begin(engine, CompletionRequest.model_validate({"prompt": "a", "top_p": 0.5}), SAMPLING)
    for asked in engine.asked:
        assert (asked.sampling.temperature, asked.sampling.top_k, asked.sampling.top_p) == (0.7, 20, 0.5)
    assert len(engine.asked) == 2


async def test_defaults_change_the_fingerprint() -> None:
    engine = FakeEngine()
    known = {facts_of(engine.model, engine.info, each).fingerprint for each in (NO_DEFAULTS, SAMPLING, SYSTEM)}
    assert len(known) == 3
    assert (await explained(request(), NO_DEFAULTS)).system_fingerprint == facts_of(
        engine.model, engine.info
    ).fingerprint

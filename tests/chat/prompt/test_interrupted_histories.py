"""Whatever interruptions make of a history, each call has one result, and every real template renders it."""

from itertools import count
from typing import Any

import msgspec
import pytest
from fake_engine import INFO
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from real_vocabularies import TEMPLATES, needs_samples, template_text

from localrouter.chat.prompt.chat_prompt import PromptRequest, prompt_of
from localrouter.chat.prompt.history import normalised
from localrouter.chat.prompt.model_template import ModelTemplate
from localrouter.chat.prompt.normalised_message import NormalisedMessage
from localrouter.schema.chat_messages import Message

FIREFUNCTION = "fireworks-ai-llama-3-firefunction-v2.jinja"
ITS_OWN = {"functions": "[]", "datetime": "2024-07-26"}
TOOL = {
    "type": "function",
    "function": {
        "name": "sum_up",
        "description": "Adds numbers.",
        "parameters": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
    },
}
MISSING = object()
NO_TEXT = [MISSING, None, "", []]
ARGUMENTS = [MISSING, None, "", "{}", '{"a": "b"}', {"a": "b"}, {}, "no JSON"]
RESULTS = [MISSING, None, "", [], "done", {"a": [1]}, 4, True, ["a"], [{"type": "text", "text": "a"}, "b"]]


def with_fields(message: dict[str, Any], **fields: object) -> dict[str, Any]:
    return message | {name: value for name, value in fields.items() if value is not MISSING}


@st.composite
def turns_with_calls(draw: st.DrawFn, ids: "count[int]") -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return an assistant message with calls and the results after it, and results that come later."""
    has_ids = draw(st.booleans())
    calls = []
    for _ in range(draw(st.integers(1, 3))):
        function = with_fields({"name": "sum_up"}, arguments=draw(st.sampled_from(ARGUMENTS)))
        identifier = f"call{next(ids):05}" if has_ids else draw(st.sampled_from([MISSING, None, ""]))
        kind = draw(st.sampled_from(["function", MISSING, None]))
        calls.append(with_fields({"function": function}, id=identifier, type=kind))
    caller = with_fields({"role": "assistant", "tool_calls": calls}, content=draw(st.sampled_from([*NO_TEXT, "So:"])))
    results = [
        with_fields({"role": "tool"}, tool_call_id=call.get("id", MISSING), content=draw(st.sampled_from(RESULTS)))
        for call in calls
    ]
    if not has_ids:
        return [caller, *results[: draw(st.integers(0, len(results)))]], []
    results = draw(st.permutations(results))
    now, late = sorted((draw(st.integers(0, len(results))), draw(st.integers(0, len(results)))))
    return [caller, *results[:now]], list(results[now:late])


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    waiting: list[dict[str, Any]] = []
    ids = count()
    for _ in range(draw(st.integers(1, 4))):
        messages.append(with_fields({"role": "user"}, content=draw(st.sampled_from(["Hi", "Hi", *NO_TEXT]))))
        if draw(st.booleans()):
            messages += waiting
            waiting = []
        if draw(st.booleans()):
            turn, late = draw(turns_with_calls(ids))
            messages += turn
            waiting += late
        if draw(st.booleans()):
            answer = with_fields({"role": "assistant"}, content=draw(st.sampled_from(["Well.", *NO_TEXT])))
            messages.append(with_fields(answer, reasoning=draw(st.sampled_from([MISSING, "Hm."]))))
    return messages


@given(histories())
def test_every_call_has_one_result_right_after_it(messages: list[dict[str, Any]]) -> None:
    done = normalised([Message.model_validate(message) for message in messages])

    for place, message in enumerate(done):
        after = [result.call for result in done[place + 1 : place + 1 + len(message.calls)]]
        assert all(sum(1 for call in after if call is each) == 1 for each in message.calls)
    assert sum(1 for message in done if message.role == "tool") == sum(len(message.calls) for message in done)
    assert msgspec.json.decode(msgspec.json.encode(done), type=list[NormalisedMessage]) == done
    assert sorted(message.index for message in done if message.index is not None) == list(range(len(messages)))


@needs_samples
@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=3)
@given(messages=histories())
def test_every_template_renders_an_interrupted_history(name: str, messages: list[dict[str, Any]]) -> None:
    model = ModelTemplate.of(replace(INFO, chat_template=template_text(name), bos_token="<s>", eos_token="</s>"))
    variables = ITS_OWN if name == FIREFUNCTION else {}
    history = normalised([Message.model_validate(message) for message in messages])

    prompt = prompt_of(model, PromptRequest(history, [TOOL], variables=variables))

    assert prompt.segments

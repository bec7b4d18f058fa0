"""The reasoning and the text of a message, in whichever field a client sends them."""

from typing import Any

import pytest
from pydantic import ValidationError

from localrouter.schema.chat_messages import Message


def assistant(**fields: Any) -> Message:
    return Message.model_validate({"role": "assistant", "content": "a", **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_content": "b"},
        {"reasoning": "b", "reasoning_content": "b", "thinking": "b", "reasoning_text": "b"},
        {"reasoning": "", "thinking": "b", "reasoning_content": None},
        {"reasoning_details": [{"type": "reasoning.text", "text": "b"}, {"type": "reasoning.encrypted", "data": "x"}]},
        {"thinking_blocks": [{"type": "thinking", "thinking": "b", "signature": "x"}]},
        {"thinking_blocks": [{"thinking": "other"}], "reasoning": "b"},
        {"content": [{"type": "thinking", "thinking": "b", "signature": "x"}, {"type": "text", "text": "a"}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "b"}]}, {"type": "text", "text": "a"}]},
        {"content": [{"type": "reasoning", "text": "b"}, {"type": "text", "text": "a"}]},
        {"content": [{"type": "text", "text": "a"}, {"type": "reasoning", "reasoning": "b"}], "reasoning": "b"},
    ],
)
def test_reasoning_has_many_names(fields: dict[str, Any]) -> None:
    message = assistant(**fields)

    assert (message.effective_reasoning, message.text) == ("b", "a")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"reasoning_details": "b"},
        {"reasoning_details": [1, None, {"text": 1}, {"text": None}, ["b"]]},
        {"thinking_blocks": {"thinking": "b"}},
        {"content": [{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "a"}]},
    ],
)
def test_blocks_without_text_are_no_reasoning(fields: dict[str, Any]) -> None:
    assert assistant(**fields).effective_reasoning == ""


def test_pieces_of_one_block_are_joined_and_blocks_are_kept_apart() -> None:
    details = [{"text": "a", "index": 0}, {"text": "b", "index": 0}, {"text": "c", "index": 1}, {"text": "d"}]

    assert assistant(reasoning_details=details).effective_reasoning == "ab\n\nc\n\nd"


def test_only_the_assistant_has_reasoning_in_blocks() -> None:
    message = Message.model_validate({"role": "user", "content": "a", "reasoning_details": [{"text": "b"}]})

    assert message.effective_reasoning == ""


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
@pytest.mark.parametrize("fields", [{}, {"content": None}, {"content": []}, {"content": ""}])
def test_a_message_without_content_has_no_text(role: str, fields: dict[str, Any]) -> None:
    assert Message.model_validate({"role": role, **fields}).text == ""


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "tool_calls": None, "function_call": None, "refusal": None, "content": None, "x": 1},
        {"role": "assistant", "tool_calls": [], "content": None},
        {"role": "assistant", "reasoning": "b", "x": 1},
        {"role": "assistant", "refusal": "no", "x": 1},
        {"role": "user", "x": None},
        {"role": "user", "tool_calls": [], "tool_call_id": "", "prefix": False, "content": "a"},
    ],
)
def test_fields_that_are_empty_ask_for_nothing(message: dict[str, Any]) -> None:
    assert Message.model_validate(message).continues == ""


def test_an_unknown_field_does_not_stand_for_the_content() -> None:
    with pytest.raises(ValidationError):
        Message.model_validate({"role": "user", "parts": [{"text": "Hi"}]})

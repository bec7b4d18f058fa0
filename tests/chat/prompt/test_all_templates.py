"""Every chat template in llama.cpp's sources renders plain conversations, with all that they say."""

from typing import Any

import pytest
from fake_engine import INFO
from msgspec.structs import replace
from real_vocabularies import TEMPLATES, needs_samples, template_text

from localrouter.chat.prompt.chat_prompt import PromptRequest, prompt_of
from localrouter.chat.prompt.history import normalised
from localrouter.chat.prompt.model_template import ModelTemplate
from localrouter.errors import InvalidRequest
from localrouter.schema.chat_messages import Message

pytestmark = needs_samples

FIREFUNCTION = "fireworks-ai-llama-3-firefunction-v2.jinja"
ITS_OWN = {FIREFUNCTION: {"functions": "[]", "datetime": "2024-07-26"}}
"""Variables that a template needs and that are no part of a conversation."""
SYSTEM = {"role": "system", "content": "Be kind."}
USER = {"role": "user", "content": "How much is 1+1?"}
ANSWER = {"role": "assistant", "content": "That makes 2."}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "call00001", "type": "function", "function": {"name": "sum_up", "arguments": '{"a": "q7x"}'}}
    ],
}
RESULT = {"role": "tool", "tool_call_id": "call00001", "content": "The sum is 2"}
ADD = {
    "type": "function",
    "function": {
        "name": "sum_up",
        "description": "Adds numbers.",
        "parameters": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
    },
}
BARE = {"type": "function", "function": {"name": "clock_now"}}
CONVERSATIONS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "user": ([USER], []),
    "system": ([SYSTEM, USER], []),
    "turns": ([SYSTEM, USER, ANSWER, {"role": "user", "content": "Thanks!"}], []),
    "tools": ([SYSTEM, USER], [ADD]),
    "bare function": ([USER], [BARE]),
    "call": ([SYSTEM, USER, CALL, RESULT], [ADD]),
    "call and answer": ([USER, CALL, RESULT, ANSWER, {"role": "user", "content": "Thanks!"}], [ADD]),
}
"""Messages and tools."""


def prompt(name: str, messages: list[dict[str, Any]], tools: list[dict[str, Any]], variables: dict[str, Any]) -> str:
    info = replace(INFO, chat_template=template_text(name), bos_token="<s>", eos_token="</s>")
    request = PromptRequest(
        normalised([Message.model_validate(message) for message in messages]), tools, variables=variables
    )
    prompt = prompt_of(ModelTemplate.of(info), request)
    return "".join(segment.text for segment in prompt.segments)


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_shows_all_of_a_plain_conversation(name: str, conversation: str) -> None:
    messages, tools = CONVERSATIONS[conversation]

    text = prompt(name, messages, tools, ITS_OWN.get(name, {}))

    assert [message["content"] for message in messages if (message["content"] or "") not in text] == []
    assert [tool for tool in tools if tool["function"]["name"] not in text] == []
    assert ("q7x" in text) is (CALL in messages)


def test_a_template_that_lacks_a_variable_says_where_it_is_set() -> None:
    with pytest.raises(InvalidRequest, match=r"'functions' is undefined\. Set it in `chat_template_kwargs`"):
        prompt(FIREFUNCTION, [USER], [], {})

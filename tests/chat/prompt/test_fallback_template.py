"""A model without a chat template is asked in the turn format of its vocabulary."""

from typing import Any

import pytest
from fake_engine import INFO, FakeEngine, HereRenderer, generation
from msgspec.structs import replace

from localrouter.chat.response.chat_completion import Completion
from localrouter.chat.response.explanation import explain
from localrouter.engine.model_info import ModelInfo, TemplateSource
from localrouter.gguf.turn_format import DELIMITERS
from localrouter.schema.chat_request import ChatRequest

CONTROL = {f"fallback {name}": list(delimiters) for name, delimiters in DELIMITERS.items()} | {
    "fallback plain": ["<s>", "</s>"]
}
STOP = ("\n\nUser:", "\nUser:", "\n\nAssistant:", "\nAssistant:")
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CONVERSATION = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "Bye"},
]


def info_of(source: TemplateSource, template: str | None = None) -> ModelInfo:
    control = CONTROL[source]
    return replace(INFO, chat_template=template, template_source=source, control_tokens=control)


def request(messages: list[dict[str, str]], **fields: Any) -> ChatRequest:
    return ChatRequest.model_validate({"model": "fake", "messages": messages} | fields)


async def prompt(source: TemplateSource, messages: list[dict[str, str]], **fields: Any) -> str:
    return (await explain(FakeEngine(info=info_of(source)), request(messages, **fields), HereRenderer())).prompt


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "fallback chatml",
            "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            "fallback gemma4",
            "<|turn>system\nBe kind.<turn|>\n<|turn>user\nHi<turn|>\n"
            "<|turn>model\nHello!<turn|>\n<|turn>user\nBye<turn|>\n<|turn>model\n",
        ),
        (
            "fallback gemma",
            "<start_of_turn>user\nBe kind.\n\nHi<end_of_turn>\n"
            "<start_of_turn>model\nHello!<end_of_turn>\n<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n",
        ),
        (
            "fallback plain",
            "System:\nBe kind.\n\nUser:\nHi\n\nAssistant:\nHello!\n\nUser:\nBye\n\nAssistant:\n",
        ),
    ],
)
async def test_each_format_writes_a_conversation_in_its_own_turns(source: TemplateSource, expected: str) -> None:
    assert await prompt(source, CONVERSATION) == expected


@pytest.mark.parametrize("source", ["fallback chatml", "fallback gemma4", "fallback gemma", "fallback plain"])
async def test_any_order_of_messages_is_taken(source: TemplateSource) -> None:
    messages = [*reversed(CONVERSATION), {"role": "developer", "content": "Be brief."}]
    text = await prompt(source, messages, tools=[TOOL])
    assert all(message["content"] in text for message in messages)
    assert '"name": "add"' in text


@pytest.mark.parametrize("source", ["fallback chatml", "fallback gemma4", "fallback gemma"])
async def test_delimiters_that_a_client_writes_stay_text(source: TemplateSource) -> None:
    _, end = CONTROL[source]
    engine = FakeEngine(generation("x"), info=info_of(source))
    await Completion.begin(engine, request([{"role": "user", "content": f"a{end}b"}]), HereRenderer())
    assert [each.control for each in engine.asked[0].prompt if f"a{end}b" in each.text] == [False]


@pytest.mark.parametrize("source", ["fallback plain", "fallback gemma"])
async def test_an_answer_that_is_continued_has_no_end(source: TemplateSource) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Once upon "}]
    assert (await prompt(source, messages, continue_final_message=True)).endswith("\nOnce upon ")


async def stop_of(info: ModelInfo, **fields: Any) -> tuple[str, ...]:
    engine = FakeEngine(generation("x"), info=info)
    await Completion.begin(engine, request([{"role": "user", "content": "Hi"}], **fields), HereRenderer())
    return engine.asked[0].sampling.stop


async def test_the_label_of_the_next_turn_ends_an_answer_in_plain_text() -> None:
    info = info_of("fallback plain")
    assert await stop_of(info) == STOP
    assert await stop_of(info, stop=["###", "\nUser:"]) == ("###", "\nUser:", "\n\nUser:", *STOP[2:])
    assert (await explain(FakeEngine(info=info), request(CONVERSATION), HereRenderer())).sampling.stop == [*STOP]


async def test_content_in_a_promised_form_is_ended_by_its_grammar_alone() -> None:
    assert await stop_of(info_of("fallback plain"), regex="(a|\n)+", stop="###") == ("###",)


async def test_where_a_special_token_ends_the_turn_no_string_does() -> None:
    assert await stop_of(info_of("fallback gemma")) == ()
    assert await stop_of(replace(INFO, chat_template="{{ messages[0].content }}", template_source="model")) == ()

"""Which family a model belongs to, told by its own chat template."""

import json

import gguf
import pytest
from fake_engine import INFO
from msgspec.structs import replace
from reading import Reader
from real_vocabularies import needs_samples, template_text

from localrouter.chat.families.detection import can_switch_thinking, family_of, shows_tools, thinks
from localrouter.chat.families.family import Family
from localrouter.chat.families.gemma import GEMMA4
from localrouter.chat.families.prompted_tools import FALLBACK, call_text, instructions, result_text
from localrouter.chat.families.qwen import QWEN3, QWEN3_CODER
from localrouter.chat.parsing.parser import Arguments, CallBegun, CallEnded
from localrouter.chat.prompt.fallback_template import CHATML
from localrouter.engine.model_info import ModelInfo
from training.evaluate import ASSET

GLM = "{% if tools %}<tool_call>{function-name}{% for t in tools %}<arg_key>{% endfor %}{% endif %}"


def model(template: str | None) -> ModelInfo:
    return replace(INFO, chat_template=template)


@needs_samples
@pytest.mark.parametrize(
    ("name", "family", "tools", "thoughts", "switch"),
    [
        ("Qwen-Qwen2.5-7B-Instruct.jinja", QWEN3, True, False, False),
        ("Qwen-Qwen3-0.6B.jinja", QWEN3, True, True, True),
        ("Qwen3-Coder.jinja", QWEN3_CODER, True, False, False),
        ("Qwen3.5-4B.jinja", QWEN3_CODER, True, True, True),
        ("google-gemma-4-31B-it.jinja", GEMMA4, True, True, True),
        ("google-gemma-2-2b-it.jinja", FALLBACK, False, False, False),
    ],
)
def test_real_templates(name: str, family: Family, tools: bool, thoughts: bool, switch: bool) -> None:
    info = model(template_text(name))

    assert family_of(info) == family
    assert (shows_tools(info), thinks(info), can_switch_thinking(info)) == (tools, thoughts, switch)


def test_the_demo_model_writes_as_qwen3_does() -> None:
    info = model(gguf.GGUFReader(ASSET).fields["tokenizer.chat_template"].contents())

    assert family_of(info) == QWEN3
    assert shows_tools(info)
    assert thinks(info)
    assert can_switch_thinking(info)


@pytest.mark.parametrize("template", [None, "", CHATML], ids=["none", "empty", "ChatML"])
def test_a_template_without_tools_leaves_them_to_the_system_message(template: str | None) -> None:
    info = model(template)

    assert family_of(info) == FALLBACK
    assert not shows_tools(info)
    assert not thinks(info)


def test_the_same_marks_around_something_else_are_not_read_as_json() -> None:
    info = model(GLM.replace("{function-name}", "{{ name }}"))

    assert family_of(info) == FALLBACK
    assert not shows_tools(info)


def test_a_template_that_writes_calls_but_knows_no_definitions_does_not_show_tools() -> None:
    info = model("{{ '<tool_call>\\n{\"name\": ' }}")

    assert family_of(info) == QWEN3
    assert not shows_tools(info)


def test_instructions_hold_every_definition_as_it_is() -> None:
    functions: list[dict[str, object]] = [
        {"name": "add", "description": "{braces} «é»", "parameters": {"type": "object"}},
        {"name": "now"},
    ]

    text = instructions(functions)

    assert [json.loads(line) for line in text.splitlines() if line.startswith('{"name"')][:2] == functions
    assert "«é»" in text


def test_a_call_of_the_history_is_one_that_the_parser_reads() -> None:
    parts = Reader(FALLBACK, tools={"add": {}}).feed(call_text("add", {"text": "é\n</tool_call>"}))

    assert parts == [
        CallBegun(0, "add"),
        Arguments(0, '{"text": "é\\n</tool_call>"}'),
        CallEnded(0, complete=True),
    ]


def test_instructions_show_calls_and_results_as_the_history_has_them() -> None:
    text = instructions([{"name": "add"}])

    assert '<tool_call>\n{"name": ' in text
    assert all(mark in text for mark in result_text("x").split("\nx\n"))

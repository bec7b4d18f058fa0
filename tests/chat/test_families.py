"""Which family a model belongs to, told by its own chat template."""

import json

import gguf
import pytest
from fake_engine import INFO
from msgspec.structs import replace
from reading import Reader
from real_vocabularies import needs_samples, template_text

from localrouter.chat.families.detection import family_of
from localrouter.chat.families.family import Family
from localrouter.chat.families.gemma import GEMMA4
from localrouter.chat.families.prompted_tools import FALLBACK, call_text, instructions, result_text
from localrouter.chat.families.qwen import QWEN3, QWEN3_CODER
from localrouter.chat.model_facts import facts_of
from localrouter.chat.parsing.parser import Arguments, CallBegun, CallEnded
from localrouter.chat.prompt.fallback_template import CHATML
from localrouter.engine.model_info import ModelInfo
from training.evaluate import ASSET

GLM = "{% if tools %}<tool_call>{function-name}{% for t in tools %}<arg_key>{% endfor %}{% endif %}"


def model(template: str | None) -> ModelInfo:
    return replace(INFO, chat_template=template)


@needs_samples
@pytest.mark.parametrize(
    ("name", "family", "can_reason"),
    [
        ("Qwen-Qwen2.5-7B-Instruct.jinja", QWEN3, False),
        ("Qwen-Qwen3-0.6B.jinja", QWEN3, True),
        ("Qwen3-Coder.jinja", QWEN3_CODER, False),
        ("Qwen3.5-4B.jinja", QWEN3_CODER, True),
        ("google-gemma-4-31B-it.jinja", GEMMA4, True),
        ("google-gemma-2-2b-it.jinja", FALLBACK, False),
    ],
)
def test_real_templates(name: str, family: Family, can_reason: bool) -> None:
    info = model(template_text(name))

    assert family_of(info) == family
    assert facts_of(name, info).can_reason == can_reason


def test_the_demo_model_writes_as_qwen3_does() -> None:
    info = model(gguf.GGUFReader(ASSET).fields["tokenizer.chat_template"].contents())

    assert family_of(info) == QWEN3
    assert facts_of("demo", info).can_reason


@pytest.mark.parametrize("template", [None, "", CHATML], ids=["none", "empty", "ChatML"])
def test_a_template_without_tools_leaves_them_to_the_system_message(template: str | None) -> None:
    info = model(template)

    assert family_of(info) == FALLBACK
    assert not facts_of("model", info).can_reason


def test_the_same_delimiters_around_something_else_are_not_read_as_json() -> None:
    assert family_of(model(GLM.replace("{function-name}", "{{ name }}"))) == FALLBACK


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

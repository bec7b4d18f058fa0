"""The embedded demo model knows what its README promises: rates on fixed questions that the training does not have."""

import re
from collections.abc import Callable
from typing import Any

import gguf
import pytest

from localrouter.chat.prompt.template import ChatTemplate
from training import exam, exam_tools
from training.completer import Completer, EngineCompleter
from training.evaluate import ASSET, take
from training.exam import Exam
from training.held_out import EXAM_WORDS, similar_tool_questions, single_tool_questions
from training.patterns import DATA

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather <today> for a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
YARN: dict[str, Any] = {"type": "yarn", "factor": 2.0, "original_context_length": 2048}


@pytest.fixture(scope="module")
def model() -> Completer:
    return EngineCompleter(ASSET)


@pytest.fixture(scope="module")
def facts() -> gguf.GGUFReader:
    return gguf.GGUFReader(ASSET)


@pytest.fixture(scope="module")
def template(facts: gguf.GGUFReader) -> ChatTemplate:
    return ChatTemplate(facts.fields["tokenizer.chat_template"].contents())


def _text(template: ChatTemplate, messages: list[dict[str, Any]], **extra: Any) -> str:
    return "".join(
        segment.text for segment in template.render(messages, tools=extra.pop("tools", None), variables=extra)
    )


EXAMS: dict[str, Callable[[Completer], Exam]] = {
    "the Netherlands, greedy": exam.anchor,
    "the Netherlands, 100 times at temperature 1": exam.anchor_sampled,
    "120 capitals in 5 phrasings": lambda model: exam.capitals(model, countries=120),
    "held-out pairs of country and phrasing": lambda model: exam.capitals_held_out(model, limit=200),
    "phrasings never trained": lambda model: exam.capitals_new_phrasing(model, limit=100),
    "greetings": exam.greetings,
    "stories at temperature 1": lambda model: exam.stories(model, runs=20),
    "a name told before": lambda model: exam.remembers_name(model, runs=60),
    "a number told before": lambda model: exam.remembers_number(model, runs=60),
    "a name told 20 turns before": lambda model: exam.remembers_long(model, runs=10),
    "capitals after 3,500 tokens": exam.capitals_late,
    "one tool": lambda model: exam_tools.one_tool(model, rounds=3),
    "three similar tools": lambda model: exam_tools.three_tools(model, rounds=2),
    "a tool's result": lambda model: exam_tools.tool_results(model, runs=60),
    "tools that are not needed": lambda model: exam_tools.tools_not_needed(model, runs=40),
    "thinking": lambda model: exam.thinks(model, runs=50),
    "no thinking": lambda model: exam.does_not_think(model, step=4),
    "anything else": exam.says_it_is_small,
}


@pytest.mark.slow
@pytest.mark.parametrize("make", EXAMS.values(), ids=EXAMS.keys())
def test_rate_reaches_its_bar(model: Completer, make: Callable[[Completer], Exam]) -> None:
    grade = take(model, make(model))
    shown = [(question.request.messages[-1]["content"], answer.text) for question, answer in grade.misses[:5]]
    assert grade.passed, f"{grade.right} of {len(grade.exam.questions)} right; wrong: {shown}"


def test_exam_words_are_not_in_the_training() -> None:
    assert not _known_words() & EXAM_WORDS


def test_every_tool_of_the_exam_has_a_word_that_is_not_in_the_training() -> None:
    for question in (*single_tool_questions(), *similar_tool_questions()):
        words = {word.lower() for word in re.findall("[A-Z]?[a-z]+", question.name)}
        assert words - _known_words(), question.name


def _known_words() -> set[str]:
    return {word.lower() for block in DATA["words"].values() for word in block.split()}


def test_file_is_small() -> None:
    assert ASSET.stat().st_size <= 5_000_000


def test_file_says_what_it_is(facts: gguf.GGUFReader) -> None:
    said = {key: field.contents() for key, field in facts.fields.items() if not key.startswith("tokenizer.ggml")}
    assert said["general.architecture"] == "qwen3"
    assert said["general.name"] == "localrouter-demo"
    assert said["general.license"] == "apache-2.0"
    assert said["qwen3.context_length"] == 4096
    assert "demo model made for tests" in said["general.description"]


def test_context_is_that_of_the_training_stretched_with_yarn(facts: gguf.GGUFReader) -> None:
    scaling = {name: facts.fields[f"qwen3.rope.scaling.{name}"].contents() for name in YARN}
    assert scaling == YARN
    assert facts.fields["qwen3.context_length"].contents() == YARN["factor"] * YARN["original_context_length"]


def test_control_tokens_are_control_tokens(facts: gguf.GGUFReader) -> None:
    tokens = facts.fields["tokenizer.ggml.tokens"].contents()
    kinds = dict(zip(tokens, facts.fields["tokenizer.ggml.token_type"].contents(), strict=True))
    assert 2000 <= len(tokens) <= 4000
    assert {kinds[token] for token in ("<|im_start|>", "<|im_end|>", "<|endoftext|>")} == {gguf.TokenType.CONTROL}
    visible = ("<think>", "</think>", "<tool_call>", "</tool_call>")
    assert {kinds[token] for token in visible} == {gguf.TokenType.USER_DEFINED}


def test_template_is_plain_chatml_by_default(template: ChatTemplate) -> None:
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    expected = "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"
    assert _text(template, messages) == expected


@pytest.mark.parametrize(("thinking", "opened"), [(True, "<think>\n"), (False, "<think>\n\n</think>\n\n")])
def test_template_opens_or_skips_the_think_block(template: ChatTemplate, thinking: bool, opened: str) -> None:
    text = _text(template, [{"role": "user", "content": "U"}], enable_thinking=thinking)
    assert text.endswith("<|im_start|>assistant\n" + opened)


def test_template_shows_tools_with_and_without_a_system_message(template: ChatTemplate) -> None:
    shown = '# Tools\nGet the weather <today> for a city.\n{"name": "get_weather", "arguments": {"city": "string"}}'
    user = {"role": "user", "content": "U"}
    assert shown in _text(template, [user], tools=[WEATHER])
    assert "S\n\n" + shown in _text(template, [{"role": "system", "content": "S"}, user], tools=[WEATHER])


@pytest.mark.parametrize("arguments", [{"city": "Zürich & <Bern>"}, '{"city": "Zürich & <Bern>"}'])
def test_template_shows_tool_calls_and_results(template: ChatTemplate, arguments: dict[str, str] | str) -> None:
    call = {"type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "U"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "sunny"},
    ]
    text = _text(template, messages, tools=[WEATHER])
    called = '{"name": "get_weather", "arguments": {"city": "Zürich & <Bern>"}}'
    assert (
        f"<|im_start|>assistant\n<tool_call>\n{called}\n</tool_call><|im_end|>\n<|im_start|>tool\nsunny<|im_end|>"
        in text
    )


def test_template_shows_the_last_answers_reasoning(template: ChatTemplate) -> None:
    answer = {"role": "assistant", "content": "A", "reasoning_content": "R"}
    assert "<think>\nR\n</think>\n\nA<|im_end|>" in _text(template, [{"role": "user", "content": "U"}, answer])


@pytest.mark.parametrize("content", [{}, {"content": None}, {"content": ""}])
def test_template_survives_missing_content(template: ChatTemplate, content: dict[str, None]) -> None:
    assert "<|im_start|>user\n<|im_end|>\n" in _text(template, [{"role": "user", **content}])

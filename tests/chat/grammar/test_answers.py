"""What an answer may consist of, from its first token to its last."""

from dataclasses import replace

import pytest
from walks import admits, matcher, numbers

from localrouter.chat.families.family import Delimiters, Family
from localrouter.chat.grammar.callable_tool import CallableTool
from localrouter.chat.grammar.output_grammar import AnyText, JsonSchema, Lark, OutputRules, Regex, output_grammar

FAMILY = Family("qwen3", Delimiters("<think>", "</think>"), Delimiters("<tool_call>", "</tool_call>"), "json")
MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
GO = CallableTool("go", {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]})
STAY = CallableTool("stay")
CALL = '<tool_call>\n{"name": "go", "arguments": {"to": "Rome"}}\n</tool_call>'
OTHER = '<tool_call>\n{"name": "stay", "arguments": {}}\n</tool_call>'
NUMBER = JsonSchema({"type": "integer"})
EITHER = OutputRules(tools=[GO, STAY])
MUST = replace(EITHER, must_call=True)

with_and_without_tokens = pytest.mark.parametrize("marks", [MARKS, ()], ids=["tokens", "text"])


def wrong(answer: OutputRules, marks: tuple[str, ...], right: list[str], not_right: list[str]) -> list[str]:
    """The texts that the grammar judges otherwise than the test."""
    grammar = output_grammar(answer, FAMILY, numbers(marks)).lark
    assert grammar is not None
    refused = [text for text in right if not admits(grammar, text, marks)]
    return refused + [text for text in not_right if admits(grammar, text, marks)]


@pytest.mark.parametrize("reasoning", ["none", "open", "optional"])
def test_plain_text_has_no_grammar(reasoning: str) -> None:
    assert output_grammar(OutputRules(AnyText(), reasoning), FAMILY, {}).lark is None  # type: ignore[arg-type]


@with_and_without_tokens
@pytest.mark.parametrize(
    ("answer", "right", "not_right"),
    [
        pytest.param(OutputRules(NUMBER), ["5"], ["", " 5", "5 ", "<think></think>5", CALL], id="content"),
        pytest.param(
            OutputRules(NUMBER, "open"),
            ["</think>5", "hm\n</think>\n\n5", "<think</think>5"],
            ["5", "hm</think>", "hm</think>\n\n\n5", "a</think>b</think>5"],
            id="content after open reasoning",
        ),
        pytest.param(
            OutputRules(NUMBER, "optional"),
            ["5", "<think>hm</think>5", "<think>\n\n</think>\n\n5"],
            ["<think>5", "</think>5", "<think>a</think><think>b</think>5"],
            id="content, perhaps after reasoning",
        ),
        pytest.param(
            OutputRules(has_shown_tools=True),
            ["", "text", "<tool_call", "</tool_call", "a < b"],
            [CALL, "text" + CALL, "<think>a</think>b"],
            id="text where no function may be called",
        ),
        pytest.param(
            EITHER,
            ["", "text", CALL, "I go. " + CALL, CALL + "\n" + OTHER + " Done.", "<tool_cal", CALL + CALL],
            ["<tool_call>", "<tool_call>text</tool_call>", CALL[:-5], "<think>", CALL + "<tool_call>"],
            id="text and calls",
        ),
        pytest.param(
            replace(EITHER, parallel=False),
            ["", "text", CALL, "I go. " + CALL],
            [CALL + OTHER, CALL + "\n", CALL + " Done."],
            id="text and one call",
        ),
        pytest.param(
            replace(EITHER, reasoning="optional"),
            ["<think>hm</think>\n\ntext", "<think>hm</think>" + CALL, CALL, "text"],
            ["<think>hm", "text<think>hm</think>"],
            id="reasoning, text and calls",
        ),
        pytest.param(
            MUST,
            [CALL, CALL + "\n" + OTHER, OTHER + OTHER + CALL],
            ["", "text", " " + CALL, "text" + CALL, CALL + "text", CALL.replace("go", "fly")],
            id="calls",
        ),
        pytest.param(replace(MUST, parallel=False), [CALL, OTHER], ["", CALL + "\n" + OTHER], id="one call"),
        pytest.param(
            replace(MUST, reasoning="open"),
            ["hm</think>\n\n" + CALL],
            [CALL, "hm</think>text"],
            id="calls after reasoning",
        ),
        pytest.param(replace(MUST, tools=[STAY]), [OTHER], [CALL, ""], id="calls of one function"),
        pytest.param(
            replace(EITHER, content=NUMBER),
            ["5", CALL, CALL + OTHER],
            ["text", "5" + CALL, CALL + "5", ""],
            id="content or calls",
        ),
        pytest.param(replace(EITHER, content=Regex("a+")), ["aa", CALL], ["b", "a" + CALL], id="a pattern or calls"),
        pytest.param(replace(EITHER, content=Lark('start: "a"')), ["a", CALL], ["b"], id="a grammar or calls"),
    ],
)
def test_an_answer_has_its_parts_in_order(
    answer: OutputRules, right: list[str], not_right: list[str], marks: tuple[str, ...]
) -> None:
    assert wrong(answer, marks, right, not_right) == []


def test_a_delimiter_that_is_a_token_is_never_spelled_out() -> None:
    grammar = output_grammar(EITHER, FAMILY, numbers(MARKS)).lark
    assert grammar is not None
    spelled = [*b"text <tool_call>"]
    assert not any(text in grammar for text in ('"<tool_call>', '</tool_call>"'))
    assert admits(grammar, "text " + CALL, MARKS)
    assert matcher(grammar, MARKS).validate_tokens(spelled) == len(spelled) - 1


def test_reasoning_of_gemma_has_its_own_delimiters() -> None:
    family = Family(
        "gemma4", Delimiters("<|channel>", "<channel|>"), Delimiters("<|tool_call>", "<tool_call|>"), "gemma", "thought"
    )
    grammar = output_grammar(OutputRules(NUMBER, "optional"), family, {}).lark
    assert grammar is not None
    assert admits(grammar, "<|channel>thought\nhm\n<channel|>5")
    assert admits(grammar, "<|channel><channel|>5")
    assert not admits(grammar, "<|channel>thought\n5")

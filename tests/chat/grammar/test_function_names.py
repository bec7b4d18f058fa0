"""Names of functions: every name that a request may have is written by each grammar and read back from the call."""

import pytest
from reading import Call, Message, cut, read, written
from walks import admits

from localrouter.chat.families.family import Family
from localrouter.chat.families.gemma import GEMMA4
from localrouter.chat.families.qwen import QWEN3, QWEN3_CODER
from localrouter.chat.grammar.callable_tool import CallableTool
from localrouter.chat.grammar.output_grammar import OutputRules, output_grammar

NAMES = [
    "a.b",
    "server/tool",
    "mcp:fs:read",
    "two words",
    " a ",
    "größe",
    "名前",
    "it's",
    "a-b_c",
    "f(x)",
    "[a]",
    "x" * 256,
]
ARGUMENTS = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}


@pytest.mark.parametrize("family", [QWEN3, QWEN3_CODER, GEMMA4], ids=lambda family: family.name)
@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_written_and_read_back(name: str, family: Family) -> None:
    tools = [CallableTool(each, ARGUMENTS) for each in (name, f"{name}2", "other")]
    lark = output_grammar(OutputRules(tools=tools, must_call=True), family, {}).lark
    text = written(family, name, {"q": "x"})
    assert lark is not None
    assert admits(lark, text)
    message = read(family, *cut(text, list(range(0, len(text), 3))), tools={tool.name: ARGUMENTS for tool in tools})
    assert message == Message(calls=[Call(name, '{"q": "x"}', True)])

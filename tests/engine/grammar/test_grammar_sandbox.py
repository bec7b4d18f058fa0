"""Grammar sandbox: grammars that would end their process, or never be compiled, end only the sandbox."""

import json

import pytest

from localrouter.engine.backends.echo import EchoBackend
from localrouter.engine.generation_request import Grammar
from localrouter.engine.grammar.constraint import GrammarRefused, Grammars
from localrouter.engine.grammar.sandbox import GrammarSandbox
from localrouter.load_options import LoadOptions

MARKS = [b"<|im_end|>", b"<think>"]


def chain(length: int) -> str:
    rules = "\n".join(f"x{number}: x{number + 1}" for number in range(length))
    return f'start: x0\n{rules}\nx{length}: "a"'


def all_of(count: int) -> str:
    return f"start: X\nX: {' & '.join(f'/(.*a{number}.*)/' for number in range(count))}"


@pytest.fixture(scope="module")
def sandbox() -> GrammarSandbox:
    return GrammarSandbox(MARKS, seconds=0.5)


@pytest.mark.parametrize(
    "lark",
    [
        'start: "a"',
        "start: <think> /.*/ <[151645]>",
        f"start: %json {json.dumps({'type': 'object', 'properties': {'é': {'type': 'string'}}})}",
        "start: no such rule",  # refused where it is compiled, in better words
        chain(500),
    ],
)
def test_a_grammar_that_compiles_is_no_danger(sandbox: GrammarSandbox, lark: str) -> None:
    assert sandbox.danger(lark) is None


def test_rules_that_would_overflow_the_stack_are_a_danger(sandbox: GrammarSandbox) -> None:
    assert sandbox.danger(chain(20_000)) == (
        "Compiling it takes too much memory, or its rules refer to each other too deeply."
    )


def test_a_grammar_that_takes_too_long_is_a_danger(sandbox: GrammarSandbox) -> None:
    assert sandbox.danger(all_of(30)) == "Compiling it takes more than 0.5 seconds."


def test_after_a_danger_the_next_grammar_is_checked_as_before(sandbox: GrammarSandbox) -> None:
    assert sandbox.danger(all_of(30))
    assert sandbox.danger('start: "a"') is None


def test_a_grammar_in_danger_is_refused_at_once_the_second_time() -> None:
    class Once:
        asked = 0

        def danger(self, lark: str) -> str | None:
            self.asked += 1
            return "Never."

    once = Once()
    grammars = Grammars(EchoBackend(LoadOptions()).grammar_vocabulary, lambda special_tokens: once)

    for _ in range(2):
        with pytest.raises(GrammarRefused, match="Never"):
            grammars.constraint(Grammar('start: "a"'))

    assert once.asked == 1


def test_special_tokens_are_special_in_the_sandbox() -> None:
    written: list[list[bytes]] = []

    def sandbox(special_tokens: list[bytes]) -> GrammarSandbox:
        written.append(special_tokens)
        return GrammarSandbox(special_tokens)

    grammars = Grammars(EchoBackend(LoadOptions()).grammar_vocabulary, sandbox)
    grammars.constraint(Grammar('start: "a"'))

    assert any(b"<|im_end|>" in special_tokens for special_tokens in written)

"""The trial: grammars that would end their process, or never be compiled, end only the trial's."""

import json

import pytest

from localrouter.engine.backends.echo import EchoBackend
from localrouter.engine.grammar.constraint import GrammarRefused, Grammars
from localrouter.engine.grammar.sandbox import GrammarSandbox
from localrouter.engine.messages import Grammar
from localrouter.load_options import LoadOptions

MARKS = [b"<|im_end|>", b"<think>"]


def chain(length: int) -> str:
    rules = "\n".join(f"x{number}: x{number + 1}" for number in range(length))
    return f'start: x0\n{rules}\nx{length}: "a"'


def all_of(count: int) -> str:
    return f"start: X\nX: {' & '.join(f'/(.*a{number}.*)/' for number in range(count))}"


@pytest.fixture(scope="module")
def trial() -> GrammarSandbox:
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
def test_what_can_be_compiled_is_no_danger(trial: GrammarSandbox, lark: str) -> None:
    assert trial.danger(lark) is None


def test_rules_that_would_overflow_the_stack_are_a_danger(trial: GrammarSandbox) -> None:
    assert trial.danger(chain(20_000)) == (
        "Compiling it takes too much memory, or its rules refer to each other too deeply."
    )


def test_what_takes_too_long_is_a_danger(trial: GrammarSandbox) -> None:
    assert trial.danger(all_of(30)) == "Compiling it takes more than 0.5 seconds."


def test_after_a_danger_the_next_is_tried_as_before(trial: GrammarSandbox) -> None:
    assert trial.danger(all_of(30))
    assert trial.danger('start: "a"') is None


def test_a_grammar_in_danger_is_refused_at_once_the_second_time() -> None:
    class Once:
        asked = 0

        def danger(self, lark: str) -> str | None:
            self.asked += 1
            return "Never."

    once = Once()
    grammars = Grammars(EchoBackend(LoadOptions()).grammar_vocabulary, lambda marks: once)

    for _ in range(2):
        with pytest.raises(GrammarRefused, match="Never"):
            grammars.constraint(Grammar('start: "a"'))

    assert once.asked == 1


def test_marks_are_tried_as_marks() -> None:
    written: list[list[bytes]] = []

    def trial(marks: list[bytes]) -> GrammarSandbox:
        written.append(marks)
        return GrammarSandbox(marks)

    grammars = Grammars(EchoBackend(LoadOptions()).grammar_vocabulary, trial)
    grammars.constraint(Grammar('start: "a"'))

    assert any(b"<|im_end|>" in marks for marks in written)

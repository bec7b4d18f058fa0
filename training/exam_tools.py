"""Exams on tools: calls of tools that the training does not have, and answers from their results."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from random import Random
from typing import Any

from training import held_out
from training.completer import Completer, Completion, Request
from training.exam import COUNTRIES, Exam, Question, ask, is_text
from training.facts import capital_answer
from training.held_out import ToolQuestion
from training.lexicon import number
from training.turn import Message

TOOL_CALL = re.compile(r"<tool_call>\n(\{.*\})\n</tool_call>")


def one_tool(_: Completer, rounds: int = 5) -> Exam:
    """Return the exam with one tool and a request for it."""
    questions = _calls(held_out.single_tool_questions(), rounds)
    return Exam("one tool offered: exactly one right call, tools not in the training", 0.95, questions)


def three_tools(_: Completer, rounds: int = 5) -> Exam:
    """Return the exam with three similar tools and a request for one of them."""
    questions = _calls(held_out.similar_tool_questions(), rounds)
    return Exam("three similar tools offered: exactly one right call", 0.75, questions)


def _calls(kinds: list[ToolQuestion], rounds: int) -> list[Question]:
    rng = Random(9)
    questions = []
    for kind in kinds * rounds:
        values = _values(rng)
        request = Request(ask(kind.request.format(**values)), rng.sample(kind.tools, len(kind.tools)))
        expected = {"name": kind.name, "arguments": kind.expected(**values)}
        questions.append(Question(request, _calls_exactly(expected)))
    return questions


def _values(rng: Random) -> dict[str, str]:
    (p, q), (w, x) = rng.sample(held_out.PLACES, 2), rng.sample(held_out.NAMES, 2)
    return {"p": p, "q": q, "w": w, "x": x, "n": number(rng)}


def _calls_exactly(expected: dict[str, Any]) -> Callable[[Completion], bool]:
    def right(answer: Completion) -> bool:
        found = TOOL_CALL.fullmatch(answer.text)
        try:
            return answer.stopped and found is not None and json.loads(found[1]) == expected
        except ValueError:
            return False

    return right


def tool_results(_: Completer, runs: int = 100) -> Exam:
    """Return the exam on tool results in JSON or text, which the answer must contain."""
    rng = Random(10)
    kinds = held_out.single_tool_questions()
    questions = []
    for _run in range(runs):
        kind, values = rng.choice(kinds), _values(rng)
        found = rng.choice((str(rng.randint(-20, 5000)), values["q"], f"{values['x']} Smith"))
        key = kind.name.split("_")[-1].lower()
        shapes = (json.dumps({key: found}), found, json.dumps({"status": "ok", "answer": found}), f"Found: {found}.")
        function = {"name": kind.name, "arguments": kind.expected(**values)}
        call: Message = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}
        result: Message = {"role": "tool", "content": rng.choice(shapes)}
        request = Request([*ask(kind.request.format(**values)), call, result], kind.tools)
        questions.append(Question(request, _tells(found)))
    return Exam("a tool's result given: the answer tells it", 0.9, questions)


def _tells(found: str) -> Callable[[Completion], bool]:
    return lambda answer: answer.stopped and found in answer.text and "<tool_call>" not in answer.text


def tools_not_needed(_: Completer, runs: int = 60) -> Exam:
    """Return the exam with tools and a question about a capital."""
    rng = Random(11)
    kinds = held_out.similar_tool_questions()
    questions = []
    for country in rng.sample(COUNTRIES, runs):
        request = Request(ask(f"What is the capital of {country}?"), rng.choice(kinds).tools)
        questions.append(Question(request, is_text(capital_answer(country))))
    return Exam("tools offered that the question does not need: the answer alone", 0.9, questions)

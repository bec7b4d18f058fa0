"""Evaluation of the demo model: runs all exams and prints the rates. `python -m training.evaluate [--model FILE]`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from training import exam, exam_tools
from training.completer import Completer, Completion, EngineCompleter
from training.exam import Exam, Question

ASSET = Path(__file__).parent.parent / "localrouter" / "assets" / "demo.gguf"
EXAMS: tuple[Callable[[Completer], Exam], ...] = (
    exam.anchor,
    exam.anchor_sampled,
    exam.capitals,
    exam.capitals_held_out,
    exam.capitals_new_phrasing,
    exam.greetings,
    exam.small_talk,
    exam.stories,
    exam.remembers_name,
    exam.remembers_number,
    exam.remembers_long,
    exam.capitals_late,
    exam_tools.one_tool,
    exam_tools.three_tools,
    exam_tools.tool_results,
    exam_tools.tools_not_needed,
    exam.thinks,
    exam.does_not_think,
    exam.says_it_is_small,
)


@dataclass(frozen=True)
class Grade:
    """An exam with the answers given to it."""

    exam: Exam
    right: int
    misses: list[tuple[Question, Completion]]

    @property
    def share(self) -> float:
        """The share of right answers."""
        return self.right / len(self.exam.questions)

    @property
    def passed(self) -> bool:
        """Whether the share reaches the bar."""
        return self.share >= self.exam.bar


def take(model: Completer, one: Exam) -> Grade:
    """Return the grade of the model in an exam."""
    answers = model.complete([question.request for question in one.questions])
    pairs = zip(one.questions, answers, strict=True)
    misses = [(question, answer) for question, answer in pairs if not question.right(answer)]
    return Grade(one, len(answers) - len(misses), misses)


def main() -> None:
    """Print a table, one exam a line, and the misses that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ASSET, help="a GGUF file (default: the one in the package)")
    parser.add_argument("--misses", type=int, default=0, help="how many wrong answers of each exam to print")
    options = parser.parse_args()
    model = EngineCompleter(options.model)
    print("  right    of   share    bar")
    for make in EXAMS:
        grade = take(model, make(model))
        mark = " " if grade.passed else "!"
        counts = f"{grade.right:7d} {len(grade.exam.questions):5d}  {grade.share:6.1%}  {grade.exam.bar:5.0%}"
        print(f"{counts} {mark} {grade.exam.title}", flush=True)
        for question, answer in grade.misses[: options.misses]:
            said = " / ".join(str(message["content"]) for message in question.request.messages[-3:])
            print(f"         {said} -> {answer.text!r}")


if __name__ == "__main__":
    main()

"""Reasoning of one request: variables of the template, budget, and where the output begins."""

import pytest

from localrouter.chat.families.family import Delimiters, Family
from localrouter.chat.prompt.chat_prompt import Prompt
from localrouter.chat.request.reasoning import BUDGETS, reasoning_state, template_variables, thinking_of, unread_fields
from localrouter.engine.generation_request import Segment
from localrouter.schema.chat_request import ChatRequest

FAMILY = Family("f", Delimiters("<think>", "</think>"), Delimiters("<tool_call>", "</tool_call>"), "json")


def request(**fields: object) -> ChatRequest:
    return ChatRequest.model_validate({"model": "m", "messages": [{"role": "user", "content": "Hi"}]} | fields)


def test_who_says_nothing_gets_what_the_template_does_by_itself() -> None:
    assert template_variables(request()) == {}
    assert thinking_of(request(), FAMILY, is_open=False).budget is None


@pytest.mark.parametrize("effort", ["minimal", "low", "medium", "high", "xhigh", "max"])
def test_any_effort_turns_reasoning_on(effort: str) -> None:
    assert template_variables(request(reasoning_effort=effort)) == {"enable_thinking": True, "reasoning_effort": effort}


def test_no_effort_turns_them_off_and_ends_those_that_come_anyway() -> None:
    asked = request(reasoning_effort="none")

    assert template_variables(asked) == {"enable_thinking": False, "reasoning_effort": "none"}
    assert thinking_of(asked, FAMILY, is_open=True).budget == 0


def test_more_effort_is_a_longer_budget_of_reasoning_and_the_most_is_not_limited() -> None:
    budgets = [thinking_of(request(reasoning_effort=effort), FAMILY, is_open=False).budget for effort in BUDGETS]

    assert budgets == sorted(set(BUDGETS.values()))
    assert thinking_of(request(reasoning_effort="max"), FAMILY, is_open=False).budget is None


def test_a_budget_counts_before_the_effort() -> None:
    asked = request(reasoning_effort="high", reasoning_budget=7)

    assert thinking_of(asked, FAMILY, is_open=False).budget == 7


def test_the_client_s_own_variables_count_before_the_effort() -> None:
    asked = request(reasoning_effort="none", chat_template_kwargs={"enable_thinking": True, "mood": "calm"})

    assert template_variables(asked) == {"enable_thinking": True, "mood": "calm", "reasoning_effort": "none"}


def test_the_verbosity_is_a_variable_of_the_template() -> None:
    assert template_variables(request(verbosity="low")) == {"verbosity": "low"}


def test_fields_for_variables_that_no_template_reads_have_no_effect() -> None:
    asked = request(verbosity="low", reasoning_effort="low", chat_template_kwargs={"mood": "calm", "read": 1})

    unread = unread_fields(asked, ["mood", "verbosity", "reasoning_effort", "enable_thinking"])

    assert [each.field for each in unread] == ["chat_template_kwargs.mood", "verbosity"]
    assert unread_fields(asked, []) == []


def test_a_template_that_writes_nothing_leaves_nothing_to_look_at() -> None:
    """The engine refuses the empty prompt in words."""
    assert reasoning_state(Prompt([], [], in_reasoning=False), FAMILY, can_reason=True) == "optional"


@pytest.mark.parametrize(
    ("text", "control", "state"),
    [
        ("user\nassistant\n", True, "optional"),
        ("assistant\n<think>\n\n</think>\n\n", True, "none"),
        ("assistant\n<think>\n\n</think>\n\n", False, "optional"),
    ],
    ids=["nothing begun", "reasoning that the template closed", "text of a client"],
)
def test_an_answer_may_begin_with_reasoning_unless_the_template_closed_it(text: str, control: bool, state: str) -> None:
    assert reasoning_state(Prompt([Segment(text, control)], [], in_reasoning=False), FAMILY, can_reason=True) == state

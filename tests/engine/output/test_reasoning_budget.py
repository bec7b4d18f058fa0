"""Reasoning is counted with its delimiters, and ended in good order."""

from collections.abc import Collection

from localrouter.engine.generation_request import Thinking, ToolCalls
from localrouter.engine.output.reasoning_budget import Budget, Reading
from localrouter.engine.output.spans import Spans


def thoughts(*, is_open: bool = False, before: str = "") -> Reading:
    return Reading(Spans(Thinking("<think>", "</think>", is_open)), before)


def test_tokens_count_from_the_one_that_completes_the_beginning_to_the_one_that_completes_the_end() -> None:
    watch = thoughts()
    counts = []
    for token in ["hm", "<thi", "nk>", "a", "", "</think", ">b", "c", "<think>a</think>"]:
        watch.feed(token)
        counts.append(watch.reasoning_tokens)

    assert counts == [0, 0, 1, 2, 3, 4, 5, 5, 6]


def test_reasoning_that_the_prompt_began_counts_from_the_first_token() -> None:
    watch = thoughts(is_open=True)
    for token in ["a", "b</think>", "c"]:
        watch.feed(token)

    assert watch.reasoning_tokens == 2


def test_delimiters_of_reasoning_inside_a_call_are_not_counted() -> None:
    watch = Reading(Spans(Thinking("<think>", "</think>"), ToolCalls("<call>", "</call>")))
    for token in ["<call>", "<think>", "a", "</call>", "<think>", "<call>", "</think>"]:
        watch.feed(token)

    assert watch.reasoning_tokens == 3


def test_where_no_reasoning_is_looked_for_none_is_counted() -> None:
    watch = Reading()
    watch.feed("<think>a</think>")

    assert (watch.reasoning_tokens, watch.in_reasoning) == (0, False)


AFTER_LINE, ALONE = [1, 2], [2]


def everything(_: Collection[int]) -> bool:
    return True


def written(watch: Reading, tokens: int) -> list[int | None]:
    """Return what is written next, and next again."""
    budget = Budget(watch, tokens, (AFTER_LINE, ALONE))
    return [budget.next(everything) for _ in range(3)]


def test_reasoning_within_its_budget_goes_on() -> None:
    watch = thoughts(is_open=True)
    watch.feed("a")

    assert Budget(watch, 2, (AFTER_LINE, ALONE)).next(everything) is None


def test_a_spent_budget_ends_the_line_and_the_thought() -> None:
    watch = thoughts()
    watch.feed("<think>")
    watch.feed("a")

    assert written(watch, 1)[:2] == AFTER_LINE


def test_a_line_that_has_ended_is_not_ended_again() -> None:
    watch = thoughts(is_open=True, before="<think>\n")

    assert written(watch, 0)[0] == ALONE[0]


def test_an_output_without_reasoning_has_no_budget() -> None:
    watch = thoughts()
    watch.feed("a")

    assert written(watch, 0) == [None] * 3


def test_the_end_waits_until_it_can_stand() -> None:
    budget = Budget(thoughts(is_open=True), 0, (AFTER_LINE, ALONE))

    assert budget.next(lambda _: False) is None
    assert budget.next(lambda tokens: tokens == ALONE) == ALONE[0]

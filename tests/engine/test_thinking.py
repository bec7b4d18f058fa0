"""Thoughts are found over the borders of tokens, counted with their marks, and ended in good order."""

from collections.abc import Collection
from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from localrouter.engine.messages import Thinking
from localrouter.engine.runs import Run
from localrouter.engine.thinking import Budget, Thoughts

texts = st.lists(st.sampled_from(["<think>", "</think>", "<th", "</", "<<", "a", "\n", "think>"]), max_size=12)


def cut(text: str, places: list[int]) -> list[str]:
    at = sorted(place % (len(text) + 1) for place in places)
    return [text[start:stop] for start, stop in zip([0, *at], [*at, len(text)], strict=True)]


def thoughts(*, is_open: bool = False, before: str = "") -> Thoughts:
    return Thoughts(Thinking("<think>", "</think>", is_open), before)


def split(text: str, *, is_open: bool) -> list[Run]:
    """Return thoughts and the rest as one that sees all of the text at once would."""
    runs = []
    while text:
        end = text.find("</think>" if is_open else "<think>")
        size = len(text) if end < 0 else end + (len("</think>") if is_open else 0)
        if size:
            runs.append(Run(text[:size], is_open))
        text = text[size:]
        is_open = not is_open
        if text and is_open:
            runs.append(Run("<think>", is_thought=True))
            text = text.removeprefix("<think>")
    return joined(runs)


def joined(runs: list[Run]) -> list[Run]:
    """Return the same with neighbours of a kind in one."""
    groups = groupby(runs, key=lambda run: run.is_thought)
    return [Run("".join(run.text for run in group), is_thought) for is_thought, group in groups]


@given(texts, st.lists(st.integers(0, 99), max_size=8), st.booleans())
def test_text_is_cut_at_the_same_places_whatever_its_tokens_are(
    parts: list[str], places: list[int], is_open: bool
) -> None:
    watch = thoughts(is_open=is_open)

    runs = [run for piece in cut("".join(parts), places) for run in watch.feed(piece)] + watch.flush()

    assert joined(runs) == split("".join(parts), is_open=is_open)


def test_only_what_may_begin_a_mark_is_held_back() -> None:
    watch = thoughts()

    assert watch.feed("a<th") == [Run("a", is_thought=False)]
    assert watch.feed("x") == [Run("<thx", is_thought=False)]
    assert watch.feed("<think>a</th") == [Run("<think>", is_thought=True), Run("a</th", is_thought=True)]


def test_tokens_count_from_the_one_that_completes_the_beginning_to_the_one_that_completes_the_end() -> None:
    watch = thoughts()
    counts = []
    for token in ["hm", "<thi", "nk>", "a", "", "</think", ">b", "c", "<think>a</think>"]:
        watch.feed(token)
        counts.append(watch.tokens)

    assert counts == [0, 0, 1, 2, 3, 4, 5, 5, 6]


def test_a_thought_that_the_prompt_began_counts_from_the_first_token() -> None:
    watch = thoughts(is_open=True)
    for token in ["a", "b</think>", "c"]:
        watch.feed(token)

    assert watch.tokens == 2


def test_no_thought_begins_inside_a_call_and_no_call_inside_a_thought() -> None:
    watch = Thoughts(Thinking("<think>", "</think>"), call=("<call>", "</call>"))

    assert watch.feed("<call><think></call>") == [Run("<call>", is_call=True), Run("<think></call>", is_call=True)]
    assert joined(watch.feed("<think><call></think>")) == [Run("<think><call></think>", is_thought=True)]
    assert watch.tokens == 1


AFTER_LINE, ALONE = [1, 2], [2]


def everything(_: Collection[int]) -> bool:
    return True


def written(watch: Thoughts, tokens: int) -> list[int | None]:
    """Return what is written next, and next again."""
    budget = Budget(watch, tokens, (AFTER_LINE, ALONE))
    return [budget.next(everything) for _ in range(3)]


def test_a_thought_within_its_budget_goes_on() -> None:
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


def test_an_answer_outside_of_thoughts_has_no_budget() -> None:
    watch = thoughts()
    watch.feed("a")

    assert written(watch, 0) == [None] * 3


def test_the_end_waits_until_it_can_stand() -> None:
    budget = Budget(thoughts(is_open=True), 0, (AFTER_LINE, ALONE))

    assert budget.next(lambda _: False) is None
    assert budget.next(lambda tokens: tokens == ALONE) == ALONE[0]

"""Stop strings: found over any border, never leaked, and nothing else is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrouter.engine.output.stop_strings import Automaton, StopStrings

few = st.text("ab€", max_size=30)
stops = st.lists(st.text("ab€", min_size=1, max_size=5), min_size=1, max_size=4)
places = st.lists(st.integers(0, 30)).map(sorted)


def cut(text: str, places: list[int]) -> list[str]:
    return [text[start:stop] for start, stop in zip([0, *places], [*places, len(text)], strict=True)]


def naive(text: str, stops: list[str]) -> str | None:
    """Return the text before the first stop string: the shortest beginning that ends with one, without it."""
    for end in range(len(text) + 1):
        complete = [len(stop) for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(complete)]
    return None


@given(few, stops, places)
def test_however_the_text_is_cut_the_result_is_that_of_a_search_in_the_whole(
    text: str, stops: list[str], places: list[int]
) -> None:
    watch = StopStrings(stops)

    said = "".join(map(watch.feed, cut(text, places)))
    found = watch.found
    said += watch.flush()

    expected = naive(text, stops)
    assert found is (expected is not None)
    assert said == (text if expected is None else expected)


@given(few, stops)
def test_only_text_that_may_begin_a_stop_string_is_held_back(text: str, stops: list[str]) -> None:
    watch = StopStrings(stops)

    said = watch.feed(text)

    rest = text[len(said) :]
    assert watch.found or not rest or any(stop.startswith(rest) for stop in stops)


@pytest.mark.parametrize(
    ("stops", "pieces", "said"),
    [
        (["END"], ["Hello E", "N", "D, bye"], ["Hello ", "", ""]),
        (["END"], ["Hello E", "N", "O"], ["Hello ", "", "ENO"]),
        (["Hello"], ["Hel", "lo", " there"], ["", "", ""]),
        (["aab"], ["aa", "a", "b"], ["", "a", ""]),
        (["abcd", "bc"], ["xab", "cd"], ["x", "a"]),
        (["abc", "c"], ["xab", "cd"], ["x", ""]),
        (["\n\n"], ["a\n", "b\n", "\n"], ["a", "\nb", ""]),
    ],
    ids=["over borders", "a false alarm", "at once", "overlapping itself", "first complete", "longest", "line breaks"],
)
def test_examples(stops: list[str], pieces: list[str], said: list[str]) -> None:
    watch = StopStrings(stops)

    assert [watch.feed(piece) for piece in pieces] == said


def test_text_after_a_stop_string_is_dropped() -> None:
    watch = StopStrings(["."])

    assert (watch.feed("a.b"), watch.feed("c"), watch.flush()) == ("a", "", "")


def test_many_long_stop_strings_take_hardly_more_time_than_one() -> None:
    """Each character is looked at by the automata that have begun: by none, for text in which no string begins."""
    watch = StopStrings([f"{chr(256 + number)}{'b' * 1023}" for number in range(64)])
    looks = 0

    class Counting(Automaton):
        def step(self, character: str) -> bool:
            nonlocal looks
            looks += 1
            return super().step(character)

    watch._by_first = {first: [Counting(each.string) for each in some] for first, some in watch._by_first.items()}
    assert watch.feed("ab" * 500) == "ab" * 500
    assert looks == 0
    assert watch.feed("\u0100b\u0101a") == "\u0100b\u0101a"
    assert looks <= 8

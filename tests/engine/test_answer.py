"""What an answer says: whole characters, nothing of a stop string, and tokens whose bytes are the text's."""

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localrouter.engine.answer import Answer, Said
from localrouter.engine.messages import Logprob, Sampling, Thinking
from localrouter.engine.runs import Run
from localrouter.engine.stop_strings import StopStrings
from localrouter.engine.thinking import Thoughts

texts = st.text("ab€🙂", max_size=20)
thinking_texts = st.lists(st.sampled_from(["<t>", "</t>", "<", "t", "/", "a"]), max_size=12).map("".join)
stops_of_marks = st.lists(st.text("a<t>/", min_size=1, max_size=3), min_size=1, max_size=2).map(tuple)
THINKING = Thinking("<t>", "</t>")
stops = st.lists(st.text("ab€🙂", min_size=1, max_size=3), max_size=3).map(tuple)


@st.composite
def cut(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> list[bytes]:
    """Return tokens, some of which may have no bytes, as control tokens have."""
    data = draw(source)
    places = sorted(draw(st.lists(st.integers(0, len(data)))))
    return [data[start:stop] for start, stop in zip([0, *places], [*places, len(data)], strict=True)]


def say(tokens: list[bytes], stop: tuple[str, ...] = (), logprobs: int | None = 0) -> list[Said]:
    """Return what comes after each token, numbered by its log probability, and at the end."""
    answer = Answer(Sampling(stop=stop, logprobs=logprobs))
    said = []
    for number, token in enumerate(tokens):
        said.append(answer.feed(token, None if logprobs is None else Logprob(token, float(-number))))
        if answer.is_stopped:
            break
    return [*said, answer.flush()]


def text_of(said: list[Said]) -> str:
    return "".join(some.text for some in said)


def joined(runs: list[Run]) -> list[Run]:
    """Return the same with neighbours of a kind in one."""
    groups = groupby(runs, key=lambda run: run.is_thought)
    return [Run("".join(run.text for run in group), is_thought) for is_thought, group in groups]


def bytes_of(said: Said) -> bytes:
    return b"".join(token.piece for token in said.logprobs)


@given(cut(texts.map(str.encode)), stops)
def test_the_text_is_the_same_with_log_probabilities_and_ends_before_the_first_stop_string(
    tokens: list[bytes], stop: tuple[str, ...]
) -> None:
    watch = StopStrings(stop)
    expected = watch.feed(b"".join(tokens).decode()) + watch.flush()

    assert text_of(say(tokens, stop)) == text_of(say(tokens, stop, logprobs=None)) == expected


@given(cut(texts.map(str.encode)), stops)
def test_the_tokens_that_come_with_a_text_have_exactly_its_bytes(tokens: list[bytes], stop: tuple[str, ...]) -> None:
    for some in say(tokens, stop):
        assert bytes_of(some).decode() == some.text


@given(cut(st.binary(max_size=20)))
def test_every_token_with_bytes_is_listed_once_and_in_order(tokens: list[bytes]) -> None:
    listed = [token for some in say(tokens) for token in some.logprobs]

    assert listed == [Logprob(token, float(-number)) for number, token in enumerate(tokens) if token]


@given(cut(st.binary(max_size=20)), st.sampled_from(["\ufffd", "a", "\ufffda"]))
def test_no_token_comes_without_text_whatever_the_bytes(tokens: list[bytes], stop: str) -> None:
    said = say(tokens, (stop,))

    assert all(some.text for some in said if some.logprobs)
    assert text_of(said) == b"".join(tokens).decode(errors="replace").split(stop)[0]


def test_tokens_that_share_a_character_come_with_it() -> None:
    first, second, _ = say(["€".encode()[:2], "€".encode()[2:]])

    assert first == Said("")
    assert second == Said("€", (Logprob(b"\xe2\x82", 0.0), Logprob(b"\xac", -1.0)))


def test_a_token_that_ends_inside_a_stop_string_is_cut_and_one_that_begins_inside_is_left_out() -> None:
    held, last, rest = say([b"one. E", b"ND two"], ("END",))

    assert held == Said("")
    assert last == Said("one. ", (Logprob(b"one. ", 0.0),))
    assert rest == Said("")


def test_text_held_back_comes_with_its_tokens_when_the_answer_ends() -> None:
    assert say([b"E", b"N"], ("END",))[-1] == Said("EN", (Logprob(b"E", 0.0), Logprob(b"N", -1.0)))


@given(cut(thinking_texts.map(str.encode)), stops_of_marks)
def test_stop_strings_are_looked_for_in_what_is_no_thought(tokens: list[bytes], stop: tuple[str, ...]) -> None:
    whole, expected, is_stopped = Thoughts(THINKING), "", False
    for run in joined([*whole.feed(b"".join(tokens).decode()), *whole.flush()]):
        watch = StopStrings(stop)
        expected += run.text if run.is_thought else watch.feed(run.text) + watch.flush()
        if is_stopped := watch.found:
            break

    answer = Answer(Sampling(stop=stop, logprobs=0), Thoughts(THINKING))
    said = []
    for token in tokens:
        said.append(answer.feed(token, Logprob(token, 0.0)))
        if answer.is_stopped:
            break
    said.append(answer.flush())

    assert text_of(said) == expected
    assert answer.is_stopped == is_stopped
    assert all(bytes_of(some).decode() == some.text for some in said)


def test_a_stop_string_does_not_reach_over_a_thought() -> None:
    answer = Answer(Sampling(stop=("ab",)), Thoughts(THINKING))

    assert text_of([answer.feed(b"a<t>x</t>b"), answer.flush()]) == "a<t>x</t>b"
    assert not answer.is_stopped


@pytest.mark.parametrize("thoughts", [None, Thoughts(THINKING, call=("<c>", "</c>"))], ids=["no thoughts", "thoughts"])
def test_stop_strings_are_not_looked_for_in_calls(thoughts: Thoughts | None) -> None:
    answer = Answer(Sampling(stop=("c", "1")), thoughts, ("<c>", "</c>"))

    assert text_of([answer.feed(token) for token in (b"a<", b"c>1c</", b"c>b", b"1a")]) == "a<c>1c</c>b"
    assert answer.is_stopped


def test_a_stop_string_may_be_complete_only_at_the_end() -> None:
    answer = Answer(Sampling(stop=("\ufffd",)))
    said = [answer.feed(b"a\xe2"), answer.flush()]

    assert (text_of(said), answer.is_stopped) == ("a", True)

"""What an answer says: whole characters, nothing of a stop string, and tokens whose bytes are the text's."""

from hypothesis import given
from hypothesis import strategies as st

from localrouter.engine.answer import Answer, Said
from localrouter.engine.messages import Logprob, Sampling
from localrouter.engine.stop_strings import StopStrings

texts = st.text("ab€🙂", max_size=20)
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


def test_a_stop_string_may_be_complete_only_at_the_end() -> None:
    answer = Answer(Sampling(stop=("\ufffd",)))
    said = [answer.feed(b"a\xe2"), answer.flush()]

    assert (text_of(said), answer.is_stopped) == ("a", True)

"""The detokenizer: text comes out whole, however tokens cut it."""

from hypothesis import given
from hypothesis import strategies as st

from localrouter.engine.output.detokenizer import Detokenizer

texts = st.text(st.characters(exclude_categories=["Cs"]))


@st.composite
def cut(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> list[bytes]:
    data = draw(source)
    places = sorted(draw(st.lists(st.integers(0, len(data)))))
    return [data[start:stop] for start, stop in zip([0, *places], [*places, len(data)], strict=True)]


@given(cut(texts.map(str.encode)))
def test_pieces_fold_to_the_text_wherever_its_bytes_are_cut(pieces: list[bytes]) -> None:
    detokenizer = Detokenizer()

    text = "".join(map(detokenizer.feed, pieces)) + detokenizer.flush()

    assert text == b"".join(pieces).decode()


@given(cut(texts.map(str.encode)))
def test_no_delta_of_valid_text_ever_holds_a_replacement_character(pieces: list[bytes]) -> None:
    detokenizer = Detokenizer()

    deltas = [detokenizer.feed(piece) for piece in pieces]

    assert sum(delta.count("\ufffd") for delta in deltas) == b"".join(pieces).decode().count("\ufffd")


@given(cut(st.binary()))
def test_bytes_that_are_no_text_become_replacement_characters(pieces: list[bytes]) -> None:
    detokenizer = Detokenizer()

    text = "".join(map(detokenizer.feed, pieces)) + detokenizer.flush()

    assert text == b"".join(pieces).decode(errors="replace")


def test_a_character_comes_out_with_its_last_byte() -> None:
    detokenizer = Detokenizer()

    assert [detokenizer.feed(bytes([byte])) for byte in "€".encode()] == ["", "", "€"]


def test_a_character_that_was_never_finished_comes_out_at_the_end() -> None:
    detokenizer = Detokenizer()
    detokenizer.feed("ok€".encode()[:-1])

    assert detokenizer.flush() == "\ufffd"

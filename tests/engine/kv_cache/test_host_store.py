"""The archive: what it finds is right, what it lacks is told, and it never holds more than it may."""

from hypothesis import given
from hypothesis import strategies as st

from localrouter.engine.kv_cache.host_store import HostStore
from localrouter.engine.kv_cache.radix_tree import common

A, B = [1] * 10, [2] * 10


def archive(cells: int = 1000, worth: int = 4) -> HostStore:
    return HostStore(cells, worth)


def test_what_goes_on_furthest_is_found() -> None:
    kept = archive()
    kept.keep([*A, *B], 0)
    further = kept.keep([*A, *A, *A], 0)

    assert kept.find([*A, *A, *A, 9], 0, 30, 1000) == further


def test_an_excerpt_is_of_use_only_when_all_before_it_is_there() -> None:
    kept = archive()
    excerpt = kept.keep([*A, *B], 10)

    assert kept.find([*A, *B], 9, 20, 1000) is None
    assert kept.find([*A, *B], 10, 20, 1000) == excerpt
    assert kept.find([*B, *B], 10, 20, 1000) is None, "keys and values depend on what comes before"


def test_too_few_tokens_or_too_little_room_is_not_worth_it() -> None:
    kept = archive(worth=4)
    kept.keep(A, 0)

    assert kept.find([*A, 5], 7, 11, 1000) is None
    assert kept.find([*A[:3], 5, 6, 7], 0, 6, 1000) is None
    assert kept.find([*A, 5], 0, 11, 9) is None
    assert kept.find([*A, 5], 0, 11, 10)


def test_covered_follows_one_excerpt_after_the_other() -> None:
    kept = archive()
    kept.keep([*A, *B], 10)
    assert kept.covered([*A, *B]) == 0
    assert kept.covered([*A, *B], 10) == 20

    kept.keep(A, 0)

    assert kept.covered([*A, *B, 5]) == 20


def test_the_least_recently_used_goes_first() -> None:
    kept = archive(cells=20)
    first, second = kept.keep(A, 0), kept.keep(B, 0)
    assert kept.surplus() == []
    kept.find([*A, 5], 0, 11, 1000)
    kept.keep([3] * 5, 0)

    assert kept.surplus() == [second.handle]
    assert first.handle in kept.handles
    assert kept.cells == 15


def test_as_many_go_as_it_takes() -> None:
    kept = archive(cells=20)
    handles = [kept.keep([token] * 5, 0).handle for token in range(3)]
    kept.keep([9] * 20, 0)

    assert kept.surplus() == handles


@given(
    conversations=st.lists(
        st.tuples(st.lists(st.integers(0, 1), min_size=1, max_size=12), st.integers(0, 6)), max_size=8
    ),
    prompt=st.lists(st.integers(0, 1), min_size=1, max_size=14),
    here=st.integers(0, 6),
)
def test_what_is_found_is_as_good_as_looking_at_all(
    conversations: list[tuple[list[int], int]], prompt: list[int], here: int
) -> None:
    kept = archive(worth=2)
    excerpts = [kept.keep(tokens, min(start, len(tokens) - 1)) for tokens, start in conversations]
    usable = [common(each.tokens, prompt) for each in excerpts if each.start <= here]
    best = max((shared for shared in usable if shared >= here + 2), default=None)

    found = kept.find(prompt, here, len(prompt), 1000)

    assert (common(found.tokens, prompt) if found else None) == best

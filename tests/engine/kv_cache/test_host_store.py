"""The host store: it finds the best stored prefix, and keeps to its limits."""

from hypothesis import given
from hypothesis import strategies as st

from localrouter.engine.kv_cache.host_store import HostStore
from localrouter.engine.kv_cache.radix_tree import common_length

A, B = [1] * 10, [2] * 10


def holding(*prefixes: list[int], max_cells: int = 1000, min_tokens: int = 4) -> HostStore:
    """Return a store of these prefixes, each with the cells of all its tokens."""
    store = HostStore(max_cells, min_tokens)
    for tokens in prefixes:
        store.add(tokens, 0)
    return store


def test_the_prefix_that_continues_a_prompt_furthest_is_found() -> None:
    store = holding([*A, *B])
    further = store.add([*A, *A, *A], 0)

    assert store.find([*A, *A, *A, 9], 0, 30, 1000) == further


def test_a_prefix_is_found_only_when_the_cache_holds_all_tokens_before_its_cells() -> None:
    store = holding()
    prefix = store.add([*A, *B], 10)

    assert store.find([*A, *B], 9, 20, 1000) is None
    assert store.find([*A, *B], 10, 20, 1000) == prefix
    assert store.find([*B, *B], 10, 20, 1000) is None, "keys and values depend on all tokens before"


def test_a_prefix_that_adds_too_few_tokens_or_needs_too_many_cells_is_not_found() -> None:
    store = holding(A, min_tokens=4)

    assert store.find([*A, 5], 7, 11, 1000) is None
    assert store.find([*A[:3], 5, 6, 7], 0, 6, 1000) is None
    assert store.find([*A, 5], 0, 11, 9) is None
    assert store.find([*A, 5], 0, 11, 10)


def test_covered_follows_prefixes_that_continue_each_other() -> None:
    store = holding()
    store.add([*A, *B], 10)
    assert store.covered([*A, *B]) == 0
    assert store.covered([*A, *B], 10) == 20

    store.add(A, 0)

    assert store.covered([*A, *B, 5]) == 20


def test_the_least_recently_used_prefix_is_evicted_first() -> None:
    store = holding(max_cells=20)
    first, second = store.add(A, 0), store.add(B, 0)
    assert store.evict() == []
    store.find([*A, 5], 0, 11, 1000)
    store.add([3] * 5, 0)

    assert store.evict() == [second.handle]
    assert first.handle in store.handles
    assert store.cells == 15


def test_as_many_prefixes_are_evicted_as_the_limit_requires() -> None:
    store = holding([0] * 5, [1] * 5, [2] * 5, max_cells=20)
    handles = sorted(store.handles)
    store.add([9] * 20, 0)

    assert store.evict() == handles
    assert store.cells == 20


def test_a_store_without_cells_is_disabled() -> None:
    assert not HostStore(0).is_enabled
    assert HostStore(1).is_enabled


@given(
    conversations=st.lists(
        st.tuples(st.lists(st.integers(0, 1), min_size=1, max_size=12), st.integers(0, 6)), max_size=8
    ),
    prompt=st.lists(st.integers(0, 1), min_size=1, max_size=14),
    cached=st.integers(0, 6),
)
def test_the_found_prefix_is_the_best_of_all(
    conversations: list[tuple[list[int], int]], prompt: list[int], cached: int
) -> None:
    store = holding(min_tokens=2)
    prefixes = [store.add(tokens, min(start, len(tokens) - 1)) for tokens, start in conversations]
    usable = [common_length(each.tokens, prompt) for each in prefixes if each.start <= cached]
    best = max((shared for shared in usable if shared >= cached + 2), default=None)

    found = store.find(prompt, cached, len(prompt), 1000)

    assert (common_length(found.tokens, prompt) if found else None) == best

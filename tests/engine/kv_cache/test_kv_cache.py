"""The KV cache: what stays cached, what is shared, and what is evicted first when there is no room."""

from cache_backend import FakeCacheBackend, performed, prefill

from localrouter.engine.kv_cache.cache_usage import CacheUsage
from localrouter.engine.kv_cache.checkpoints import Checkpoint
from localrouter.engine.kv_cache.kv_cache import KvCache
from localrouter.engine.kv_cache.operations import Clear, Discard, Fork
from localrouter.engine.kv_cache.radix_tree import Match


def test_the_next_turn_of_a_conversation_continues_its_own_slot() -> None:
    cache = KvCache(slots=4, cells=100)
    first = prefill(cache, [1, 2, 3])
    cache.release(first)

    assert prefill(cache, [1, 2, 3, 4, 5]) == first
    assert performed(cache) == []
    assert cache.cells_free == 95


def test_a_prompt_that_diverges_from_a_cached_conversation_leaves_that_unchanged() -> None:
    cache = KvCache(slots=4, cells=100)
    first = prefill(cache, [1, 2, 3])
    cache.release(first)

    second = prefill(cache, [1, 2, 9])

    assert performed(cache) == [Fork(first, second, 2, None)]
    assert cache.tokens(first) == [1, 2, 3]


def test_running_slots_can_be_forked_too() -> None:
    cache = KvCache(slots=4, cells=100)
    first = prefill(cache, [1, 2, 3])

    second = prefill(cache, [1, 2, 3, 4])

    assert performed(cache) == [Fork(first, second, 3, None)]


def test_usage_counts_shared_cells_once() -> None:
    cache = KvCache(slots=4, cells=100)
    cache.release(prefill(cache, [1, 2, 3, 4, 5]))

    prefill(cache, [1, 2, 9])

    assert cache.usage == CacheUsage(running=3, cached=3, offloaded=0)


def test_the_least_recently_used_slot_is_evicted_first() -> None:
    cache = KvCache(slots=4, cells=100)
    old, older = prefill(cache, [1, 2]), prefill(cache, [5, 6])
    cache.release(older)
    cache.release(old)
    cache.release(prefill(cache, [5, 6, 7]))

    assert cache.evict()
    assert performed(cache) == [Clear(old)]


def test_when_slots_run_out_the_cheapest_of_the_older_half_is_evicted() -> None:
    cache = KvCache(slots=4, cells=1000)
    for tokens in ([1] * 100, [2] * 5, [3] * 50, [4] * 2):
        cache.release(prefill(cache, tokens))
    performed(cache)

    slot = prefill(cache, [9])

    assert performed(cache) == [Clear(slot)]
    assert cache.match([2] * 6) is None
    assert cache.match([1] * 101)


def test_without_a_free_or_idle_slot_none_can_be_acquired() -> None:
    cache = KvCache(slots=1, cells=100)
    prefill(cache, [1])

    assert cache.acquire(None) is None
    assert not cache.evict()


def test_cells_that_only_several_idle_slots_share_can_be_freed() -> None:
    cache = KvCache(slots=4, cells=100)
    first = prefill(cache, [1, 2, 3, 4])
    second = cache.acquire(cache.match([1, 2, 3, 9]))
    assert second is not None
    cache.release(second)
    cache.release(first)
    while cache.evict():
        pass

    assert cache.cells_free == 100
    assert cache.slots_free == [0, 1, 2, 3]


def test_a_slot_without_tokens_is_freed_when_it_is_released() -> None:
    cache = KvCache(slots=1, cells=100)
    slot = cache.acquire(None)
    assert slot is not None

    cache.release(slot)

    assert cache.cells_idle == 0
    assert performed(cache) == [Clear(slot)]


def test_the_oldest_checkpoints_are_discarded_when_they_take_too_many_bytes() -> None:
    cache = KvCache(slots=2, cells=100, can_fork_anywhere=False, state_bytes=25)
    slot = cache.acquire(None)
    assert slot is not None
    for handle in range(3):
        cache.extend(slot, [handle])
        cache.add_checkpoint(slot, Checkpoint(handle, 10))

    assert performed(cache) == [Discard(Checkpoint(0, 10))]
    assert cache.checkpoint_handles == {1, 2}


def test_a_checkpoint_that_is_used_is_discarded_later() -> None:
    cache = KvCache(slots=2, cells=100, can_fork_anywhere=False, state_bytes=20)
    slot = cache.acquire(None)
    assert slot is not None
    for handle in range(2):
        cache.extend(slot, [handle])
        cache.add_checkpoint(slot, Checkpoint(handle, 10))
    cache.extend(slot, [7])
    used = cache.match([0, 9])
    assert used is not None
    cache.acquire(used)

    cache.add_checkpoint(slot, Checkpoint(2, 10))

    assert cache.checkpoint_handles == {0, 2}


def test_idle_cells_are_limited_but_the_slot_released_last_is_kept() -> None:
    cache = KvCache(slots=4, cells=1000, idle_cells=10)
    for number in range(3):
        cache.release(prefill(cache, [number] * 4))
    assert cache.cells_idle == 8

    cache.release(prefill(cache, [7] * 100))

    assert cache.cells_idle == 100
    assert cache.match([7] * 101)


def test_a_slot_that_could_not_be_forked_is_not_forked_there_again() -> None:
    cache = KvCache(slots=8, cells=100)
    first = prefill(cache, [1] * 20)
    cache.mark_unforkable(first, 10)

    assert cache.match([*[1] * 10, 5]) is None
    assert cache.match([*[1] * 11, 5]) == Match(first, 11)
    cache.clear(first)
    prefill(cache, [1] * 20)
    assert cache.match([*[1] * 10, 5])


def test_after_a_failed_fork_the_slot_starts_anew_and_can_be_forked_itself() -> None:
    cache = KvCache(slots=8, cells=100)
    first = prefill(cache, [1] * 20)
    second = cache.acquire(cache.match([*[1] * 10, 5]))
    assert second is not None

    assert cache.apply(FakeCacheBackend("fork")) == {second}

    assert (cache.length(first), cache.length(second)) == (20, 0)
    cache.extend(second, [*[1] * 10, 5])
    assert cache.match([*[1] * 10, 5, 5]) == Match(second, 11)


def test_a_slot_that_starts_anew_is_not_marked_as_unforkable() -> None:
    cache = KvCache(slots=8, cells=100)
    prefill(cache, [1] * 20)
    second = cache.acquire(cache.match([1] * 15))
    assert second is not None
    cache.apply(FakeCacheBackend("fork"))

    cache.mark_unforkable(second, 10)
    cache.extend(second, [1] * 30)

    assert cache.match([*[1] * 12, 5]) == Match(second, 12)

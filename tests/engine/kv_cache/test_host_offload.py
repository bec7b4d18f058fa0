"""Host offload: what is copied to host memory and when, and what is restored from there."""

from cache_backend import FakeCacheBackend, performed, prefill

from localrouter.engine.kv_cache.host_store import HostStore
from localrouter.engine.kv_cache.kv_cache import KvCache
from localrouter.engine.kv_cache.operations import Clear, Forget, Fork, Restore, Store
from localrouter.engine.kv_cache.radix_tree import Match


def offloading(cells: int = 100, idle_cells: int = 0, store_cells: int = 1000) -> KvCache:
    return KvCache(slots=8, cells=cells, idle_cells=idle_cells, host_store=HostStore(store_cells, min_tokens=4))


def test_idle_slots_are_offloaded_while_others_run_and_restored_later() -> None:
    cache = offloading()
    first = prefill(cache, [1] * 20)
    cache.release(first)
    assert performed(cache) == []

    prefill(cache, [2] * 20)
    cache.offload_idle(20)
    assert performed(cache) == [Store(1, first, 0, 20), Clear(first)]

    again = cache.acquire(cache.match([1] * 30))
    assert again is not None
    assert cache.restore(again, [1] * 30) == 20
    assert performed(cache) == [Restore(1, again, 0, 20)]


def test_a_few_idle_cells_may_stay_beside_running_sequences() -> None:
    cache = offloading(idle_cells=0)
    cache.release(prefill(cache, [1] * 5))
    prefill(cache, [2] * 40)

    cache.offload_idle(40)
    assert performed(cache) == []
    cache.offload_idle(39)

    assert cache.cells_idle == 0


def test_only_cells_that_no_other_slot_shares_are_offloaded() -> None:
    cache = offloading()
    first = prefill(cache, [*[1] * 10, *[2] * 10])
    second = prefill(cache, [*[1] * 10, *[3] * 10])
    performed(cache)
    cache.release(first)

    cache.offload_idle(20)

    assert performed(cache) == [Store(1, first, 10, 20), Clear(first)]
    assert cache.length(second) == 20


def test_cells_that_have_a_copy_are_not_copied_again() -> None:
    cache = offloading()
    first = prefill(cache, [1] * 20)
    cache.release(first)
    assert cache.offload_next()
    assert not cache.offload_next()
    performed(cache)
    cache.release(prefill(cache, [*[1] * 20, *[2] * 10]))

    assert cache.evict()

    assert performed(cache) == [Store(2, first, 20, 30), Clear(first)]
    assert cache.usage.offloaded == 30


def test_a_prompt_is_assembled_from_cached_and_offloaded_tokens() -> None:
    cache = offloading()
    whole = [*[1] * 10, *[2] * 10, *[3] * 10]
    cache.release(prefill(cache, whole))
    cache.offload_next()
    cache.evict()
    performed(cache)
    other = prefill(cache, [*[1] * 10, 5])

    slot = cache.acquire(cache.match([*whole, 9]))
    assert slot is not None
    assert cache.restore(slot, [*whole, 9]) == 30
    assert performed(cache) == [Fork(other, slot, 10, None), Restore(1, slot, 10, 30)]


def test_after_a_failed_fork_nothing_is_restored_behind_it() -> None:
    cache = offloading()
    whole = [*[1] * 10, *[2] * 10]
    cache.release(prefill(cache, whole))
    cache.evict()
    prefill(cache, [*[1] * 10, 5])
    performed(cache)
    slot = cache.acquire(cache.match([*whole, 9]))
    assert slot is not None
    cache.restore(slot, [*whole, 9])

    assert cache.apply(FakeCacheBackend("fork")) == {slot}

    assert cache.length(slot) == 0
    assert cache.offloaded_handles == {1}


def test_a_copy_that_cannot_be_restored_is_dropped_and_its_slot_starts_anew() -> None:
    cache = offloading()
    cache.release(prefill(cache, [1] * 20))
    cache.evict()
    performed(cache)
    slot = cache.acquire(None)
    assert slot is not None
    cache.restore(slot, [1] * 30)

    assert cache.apply(FakeCacheBackend("restore")) == {slot}

    assert cache.length(slot) == 0
    assert cache.offloaded_handles == set()


def test_a_slot_that_cannot_be_copied_is_tried_once() -> None:
    cache = offloading(cells=1000)
    slot = prefill(cache, [*range(600)])
    cache.release(slot)
    assert cache.offload_next()
    assert cache.apply(FakeCacheBackend("store")) == set()
    assert cache.offloaded_handles == set()

    assert cache.offload_next()

    assert performed(cache) == []
    assert not cache.offload_next()


def test_the_last_token_of_a_prompt_is_not_restored() -> None:
    cache = offloading()
    cache.release(prefill(cache, [1] * 20))
    cache.evict()

    slot = cache.acquire(None)
    assert slot is not None

    assert cache.restore(slot, [1] * 20) == 19


def test_an_invalid_prefix_is_neither_cached_nor_offloaded_any_more() -> None:
    cache = offloading(cells=1000, idle_cells=500)
    for tokens in ([*[1] * 10, *[2] * 10], [*[1] * 5, *[3] * 10]):
        cache.release(prefill(cache, tokens))
    while cache.offload_next():
        pass
    performed(cache)

    cache.invalidate_prefix([1] * 12, 10)

    assert cache.match([*[1] * 10, 2]) == Match(1, 5)
    assert cache.offloaded_handles == {2}


def test_a_long_conversation_is_offloaded_in_pieces_while_others_run() -> None:
    cache = offloading(cells=2000)
    first = prefill(cache, [*range(600)])
    cache.release(first)
    prefill(cache, [7] * 8)

    assert [cache.offload_idle(8) for _ in range(4)] == [False, False, False, True]

    pieces = [Store(1, first, 0, 256), Store(2, first, 256, 512), Store(3, first, 512, 600)]
    assert performed(cache) == [*pieces, Clear(first)]


def test_all_pieces_are_offloaded_at_once_when_the_cells_are_needed() -> None:
    cache = offloading(cells=2000)
    first = prefill(cache, [*range(600)])
    cache.release(first)

    cache.evict()
    pieces = [Store(1, first, 0, 256), Store(2, first, 256, 512), Store(3, first, 512, 600)]
    assert performed(cache) == [*pieces, Clear(first)]

    again = cache.acquire(None)
    assert again is not None
    assert cache.restore(again, [*range(601)]) == 600


def test_a_conversation_larger_than_the_host_store_is_evicted_without_a_copy() -> None:
    cache = offloading(cells=2000, store_cells=100)
    first = prefill(cache, [*range(600)])
    cache.release(first)
    prefill(cache, [7] * 8)

    assert cache.offload_idle(8)
    assert performed(cache) == [Clear(first)]


def test_all_copies_can_be_dropped() -> None:
    cache = offloading()
    cache.release(prefill(cache, [1] * 20))
    cache.evict()
    performed(cache)

    cache.drop_offloaded()

    assert performed(cache) == [Forget(1)]
    assert cache.usage.offloaded == 0

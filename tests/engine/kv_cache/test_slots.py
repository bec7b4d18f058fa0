"""Slots: what is kept, what is shared, and what goes first when there is no room."""

from localrouter.engine.kv_cache.host_store import HostStore
from localrouter.engine.kv_cache.operations import Clear, Discard, Fork, Operation, Restore, Store
from localrouter.engine.kv_cache.radix_tree import Checkpoint, Match
from localrouter.engine.kv_cache.slots import Slots


def run(slots: Slots, tokens: list[int]) -> int:
    """Compute a prompt in a slot, as much of it as is not there, and return the slot."""
    match = slots.match(tokens)
    slot = slots.take(match)
    assert slot is not None
    slots.cache.extend(slot, tokens[match.count if match else 0 :])
    return slot


def operations(slots: Slots) -> list[Operation]:
    return slots.take_operations()


def test_a_conversation_that_goes_on_takes_over_its_own_slot() -> None:
    slots = Slots(slots=4, cells=100)
    first = run(slots, [1, 2, 3])
    slots.release(first)

    assert run(slots, [1, 2, 3, 4, 5]) == first
    assert operations(slots) == []
    assert slots.cells_free == 95


def test_a_conversation_that_parts_from_another_leaves_that_as_it_is() -> None:
    slots = Slots(slots=4, cells=100)
    first = run(slots, [1, 2, 3])
    slots.release(first)

    second = run(slots, [1, 2, 9])

    assert operations(slots) == [Fork(first, second, 2, None)]
    assert slots.cache.tokens(first) == [1, 2, 3]


def test_running_slots_can_be_shared_too() -> None:
    slots = Slots(slots=4, cells=100)
    first = run(slots, [1, 2, 3])

    second = run(slots, [1, 2, 3, 4])

    assert operations(slots) == [Fork(first, second, 3, None)]


def test_what_was_used_least_recently_goes_first() -> None:
    slots = Slots(slots=4, cells=100)
    old, older = run(slots, [1, 2]), run(slots, [5, 6])
    slots.release(older)
    slots.release(old)
    renewed = run(slots, [5, 6, 7])
    slots.release(renewed)

    assert slots.evict()
    assert operations(slots) == [Clear(old)]


def test_when_slots_run_out_the_cheapest_of_the_older_half_goes() -> None:
    slots = Slots(slots=4, cells=1000)
    for tokens in ([1] * 100, [2] * 5, [3] * 50, [4] * 2):
        slots.release(run(slots, tokens))
    operations(slots)

    taken = run(slots, [9])

    assert operations(slots) == [Clear(taken)]
    assert slots.match([2] * 6) is None
    assert slots.match([1] * 101)


def test_without_an_idle_slot_there_is_none_to_take() -> None:
    slots = Slots(slots=1, cells=100)
    run(slots, [1])

    assert slots.take(None) is None
    assert not slots.evict()


def test_cells_that_idle_slots_hold_only_together_can_be_freed() -> None:
    slots = Slots(slots=4, cells=100)
    first = run(slots, [1, 2, 3, 4])
    second = slots.take(slots.match([1, 2, 3, 9]))
    assert second is not None
    slots.release(second)
    slots.release(first)
    while slots.evict():
        pass

    assert slots.cells_free == 100


def test_a_slot_that_computed_nothing_is_not_kept() -> None:
    slots = Slots(slots=1, cells=100)
    slot = slots.take(None)
    assert slot is not None

    slots.release(slot)

    assert slots.cells_idle == 0
    assert operations(slots) == [Clear(slot)]


def test_copies_of_states_go_when_they_take_too_many_bytes_the_oldest_first() -> None:
    slots = Slots(slots=2, cells=100, can_fork_anywhere=False, state_bytes=25)
    slot = slots.take(None)
    assert slot is not None
    for handle in range(3):
        slots.cache.extend(slot, [handle])
        slots.keep_state(slot, Checkpoint(handle, 10))

    assert operations(slots) == [Discard(Checkpoint(0, 10))]
    assert slots.cache.handles == {1, 2}


def test_a_copy_that_is_used_stays_longer() -> None:
    slots = Slots(slots=2, cells=100, can_fork_anywhere=False, state_bytes=20)
    slot = slots.take(None)
    assert slot is not None
    for handle in range(2):
        slots.cache.extend(slot, [handle])
        slots.keep_state(slot, Checkpoint(handle, 10))
    slots.cache.extend(slot, [7])
    used = slots.match([0, 9])
    assert used is not None
    slots.take(used)

    slots.keep_state(slot, Checkpoint(2, 10))

    assert slots.cache.handles == {0, 2}


def test_beside_the_last_conversation_only_so_many_cells_are_kept() -> None:
    slots = Slots(slots=4, cells=1000, idle_cells=10)
    for number in range(3):
        slots.release(run(slots, [number] * 4))
    assert slots.cells_idle == 8

    slots.release(run(slots, [7] * 100))

    assert slots.cells_idle == 100
    assert slots.match([7] * 101)


def archiving(cells: int = 100, idle_cells: int = 0) -> Slots:
    slots = Slots(slots=8, cells=cells, idle_cells=idle_cells)
    slots.host_store = HostStore(1000, worth=4)
    return slots


def test_ended_conversations_leave_the_cache_when_others_run_and_come_back() -> None:
    slots = archiving()
    first = run(slots, [1] * 20)
    slots.release(first)
    assert operations(slots) == []

    run(slots, [2] * 20)
    slots.offload_idle(20)
    assert operations(slots) == [Store(1, first, 0, 20), Clear(first)]

    again = slots.take(slots.match([1] * 30))
    assert again is not None
    assert slots.restore(again, [1] * 30) == 20
    assert operations(slots) == [Restore(1, again, 0, 20)]


def test_a_few_cells_of_ended_conversations_may_stay_beside_running_ones() -> None:
    slots = archiving(idle_cells=0)
    slots.release(run(slots, [1] * 5))
    run(slots, [2] * 40)

    slots.offload_idle(40)
    assert operations(slots) == []
    slots.offload_idle(39)

    assert slots.cells_idle == 0


def test_only_what_nobody_else_holds_is_archived() -> None:
    slots = archiving()
    first = run(slots, [*[1] * 10, *[2] * 10])
    second = run(slots, [*[1] * 10, *[3] * 10])
    operations(slots)
    slots.release(first)

    slots.offload_idle(20)

    assert operations(slots) == [Store(1, first, 10, 20), Clear(first)]
    assert second in slots.cache


def test_what_is_archived_already_is_not_copied_again() -> None:
    slots = archiving()
    first = run(slots, [1] * 20)
    slots.release(first)
    assert slots.offload_next()
    assert not slots.offload_next()
    operations(slots)
    slots.release(run(slots, [*[1] * 20, *[2] * 10]))

    assert slots.evict()

    assert operations(slots) == [Store(2, first, 20, 30), Clear(first)]


def test_a_prompt_is_put_together_from_what_is_there_and_what_is_archived() -> None:
    slots = archiving()
    whole = [*[1] * 10, *[2] * 10, *[3] * 10]
    one = run(slots, whole)
    slots.release(one)
    slots.offload_next()
    slots.evict()
    operations(slots)
    other = run(slots, [*[1] * 10, 5])

    slot = slots.take(slots.match([*whole, 9]))
    assert slot is not None
    assert slots.restore(slot, [*whole, 9]) == 30
    assert operations(slots) == [Fork(other, slot, 10, None), Restore(1, slot, 10, 30)]


def test_the_last_token_of_a_prompt_is_left_to_be_computed() -> None:
    slots = archiving()
    slots.release(run(slots, [1] * 20))
    slots.evict()

    slot = slots.take(None)
    assert slot is not None

    assert slots.restore(slot, [1] * 20) == 19


def test_what_the_backend_could_not_fork_is_not_tried_again() -> None:
    slots = Slots(slots=8, cells=100)
    first = run(slots, [1] * 20)
    slots.mark_unforkable(first, 10)

    assert slots.match([*[1] * 10, 5]) is None
    assert slots.match([*[1] * 11, 5]) == Match(first, 11)
    slots.clear(first)
    run(slots, [1] * 20)
    assert slots.match([*[1] * 10, 5])


def test_a_slot_that_starts_anew_can_be_forked_once_it_has_computed_again() -> None:
    slots = Slots(slots=8, cells=100)
    first = run(slots, [1] * 20)
    slots.empty(first)

    slots.mark_unforkable(first, 10)
    slots.cache.extend(first, [1] * 20)

    assert slots.match([*[1] * 10, 5]) == Match(first, 10)


def test_what_is_distrusted_is_neither_kept_nor_archived() -> None:
    slots = archiving(cells=1000, idle_cells=500)
    for tokens in ([*[1] * 10, *[2] * 10], [*[1] * 5, *[3] * 10]):
        slots.release(run(slots, tokens))
    while slots.offload_next():
        pass
    operations(slots)

    slots.invalidate_prefix([1] * 12, 10)

    assert slots.match([*[1] * 10, 2]) == Match(1, 5)
    assert slots.host_store
    assert slots.host_store.handles == {2}


def test_a_long_conversation_is_archived_in_pieces_while_others_run() -> None:
    slots = archiving(cells=2000)
    first = run(slots, [*range(600)])
    slots.release(first)
    run(slots, [7] * 8)

    assert [slots.offload_idle(8) for _ in range(4)] == [False, False, False, True]

    pieces = [Store(1, first, 0, 256), Store(2, first, 256, 512), Store(3, first, 512, 600)]
    assert operations(slots) == [*pieces, Clear(first)]


def test_all_of_it_is_archived_at_once_when_its_room_is_needed() -> None:
    slots = archiving(cells=2000)
    first = run(slots, [*range(600)])
    slots.release(first)

    slots.evict()
    pieces = [Store(1, first, 0, 256), Store(2, first, 256, 512), Store(3, first, 512, 600)]
    assert operations(slots) == [*pieces, Clear(first)]

    again = slots.take(None)
    assert again is not None
    assert slots.restore(again, [*range(601)]) == 600


def test_what_is_larger_than_the_archive_is_let_go() -> None:
    slots = archiving(cells=2000)
    slots.host_store = HostStore(100, worth=4)
    first = run(slots, [*range(600)])
    slots.release(first)
    run(slots, [7] * 8)

    assert slots.offload_idle(8)
    assert operations(slots) == [Clear(first)]

"""The radix tree: which slots share which tokens, and where they can be forked."""

from itertools import count as counting

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from localrouter.engine.kv_cache.checkpoints import Checkpoint
from localrouter.engine.kv_cache.radix_tree import Match, RadixTree


def holding(*slots: list[int], can_fork_anywhere: bool = True) -> RadixTree:
    """Return a tree whose slots 0, 1, ... hold these tokens, sharing none."""
    tree = RadixTree(can_fork_anywhere=can_fork_anywhere)
    for slot, tokens in enumerate(slots):
        tree.open(slot)
        tree.extend(slot, tokens)
    return tree


def test_a_prompt_is_matched_with_the_slot_that_shares_most_of_its_beginning() -> None:
    tree = holding([1, 2, 3, 4], [1, 2, 9], [5])

    assert tree.match([1, 2, 3, 7, 8], 4) == Match(0, 3)
    assert tree.match([1, 2, 9, 9], 3) == Match(1, 3)
    assert tree.match([6], 1) is None


def test_a_match_never_exceeds_its_limit() -> None:
    assert holding([1, 2, 3]).match([1, 2, 3], 2) == Match(0, 2)


def test_a_slot_that_cannot_be_forked_hides_no_other_one() -> None:
    tree = holding([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 9], [1, 2, 8])

    assert tree.match([1, 2, 3, 4, 5, 7], 5, {0: 5}) == Match(1, 4)
    assert tree.match([1, 2, 3, 4, 5, 7], 5, {0: 5, 1: 4}) == Match(2, 2)
    assert tree.match([1, 2, 3, 4, 5, 6, 7], 6, {0: 5}) == Match(0, 6)
    tree.fork(0, 3, 5)
    assert tree.match([1, 2, 3, 4, 5, 7], 5, {0: 5}) == Match(3, 5)


def test_a_fork_takes_no_cells_until_it_is_extended() -> None:
    tree = holding([1, 2, 3, 4])

    tree.fork(0, 1, 2)
    assert tree.cells_used == 4
    tree.extend(1, [8, 9])

    assert tree.cells_used == 6
    assert tree.tokens(0) == [1, 2, 3, 4]
    assert tree.tokens(1) == [1, 2, 8, 9]


def test_closing_a_slot_frees_only_cells_that_no_other_slot_shares() -> None:
    tree = holding([1, 2, 3, 4])
    tree.fork(0, 1, 2)
    tree.extend(1, [8, 9, 10])

    assert (tree.exclusive_cells(0), tree.exclusive_cells(1)) == (2, 3)
    tree.close(0)

    assert tree.cells_used == 5
    assert tree.exclusive_cells(1) == 5


def test_slots_that_computed_the_same_tokens_independently_share_nothing() -> None:
    tree = holding([1, 2], [1, 2])

    assert tree.cells_used == 4
    assert (tree.exclusive_cells(0), tree.exclusive_cells(1)) == (2, 2)


def test_a_recurrent_slot_can_be_forked_at_its_tip_only() -> None:
    tree = holding([1, 2, 3], can_fork_anywhere=False)

    assert tree.match([1, 2, 3, 4], 3) == Match(0, 3)
    assert tree.match([1, 2, 4], 2) is None
    assert tree.match([1, 2, 3], 2) is None


def test_a_recurrent_slot_can_be_forked_where_its_state_was_kept() -> None:
    tree, kept = holding([1, 2], can_fork_anywhere=False), Checkpoint(7, 100)
    tree.add_checkpoint(0, kept)
    tree.extend(0, [3, 4])

    assert tree.match([1, 2, 3, 5], 3) == Match(0, 2, kept)
    assert tree.match([1, 9], 1) is None


def test_a_checkpoint_lives_as_long_as_a_slot_that_holds_its_tokens() -> None:
    tree, kept = holding([1, 2], can_fork_anywhere=False), Checkpoint(7, 100)
    tree.add_checkpoint(0, kept)
    tree.extend(0, [3])
    tree.fork(0, 1, 2)
    tree.close(0)
    assert tree.take_dropped() == []

    tree.close(1)

    assert tree.take_dropped() == [kept]


def test_a_second_checkpoint_at_the_same_token_replaces_the_first() -> None:
    tree = holding([1], can_fork_anywhere=False)
    tree.add_checkpoint(0, Checkpoint(1, 10))
    tree.add_checkpoint(0, Checkpoint(2, 10))

    assert tree.take_dropped() == [Checkpoint(1, 10)]
    tree.drop_checkpoints([Checkpoint(2, 10)])
    assert tree.take_dropped() == [Checkpoint(2, 10)]
    assert not tree.has_checkpoint(0)


TOKENS = st.lists(st.integers(0, 2), max_size=6)


class RadixTreeMachine(RuleBasedStateMachine):
    """Opens, extends, forks and closes slots in any order, beside a model that numbers every cell."""

    ANYWHERE = True
    SLOTS = 5

    def __init__(self) -> None:
        super().__init__()
        self.tree = RadixTree(can_fork_anywhere=self.ANYWHERE)
        self.cells: dict[int, list[tuple[int, int]]] = {}
        """Tokens of each slot, with the numbers of their cells."""
        self.kept: dict[tuple[int, int], int] = {}
        """Handles of checkpoints, by the last cell and the number of tokens."""
        self.numbers = counting()

    @property
    def unused(self) -> list[int]:
        return [slot for slot in range(self.SLOTS) if slot not in self.cells]

    @precondition(lambda self: self.unused)
    @rule()
    def open(self) -> None:
        slot = self.unused[0]
        self.tree.open(slot)
        self.cells[slot] = []

    @precondition(lambda self: self.cells)
    @rule(data=st.data(), tokens=TOKENS)
    def extend(self, data: st.DataObject, tokens: list[int]) -> None:
        slot = data.draw(st.sampled_from(sorted(self.cells)))
        self.tree.extend(slot, tokens)
        self.cells[slot] += [(token, next(self.numbers)) for token in tokens]

    @precondition(lambda self: self.cells and self.unused)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        source, slot = data.draw(st.sampled_from(sorted(self.cells))), self.unused[0]
        count = data.draw(st.integers(0, len(self.cells[source])))
        self.tree.fork(source, slot, count)
        self.cells[slot] = self.cells[source][:count]

    @precondition(lambda self: self.cells)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.cells)))
        before = self.tree.cells_used
        freed = self.tree.exclusive_cells(slot)
        self.tree.close(slot)
        del self.cells[slot]
        assert before - self.tree.cells_used == freed

    @precondition(lambda self: any(self.cells.values()))
    @rule(data=st.data())
    def keep(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from([slot for slot, held in sorted(self.cells.items()) if held]))
        handle = next(self.numbers)
        self.tree.add_checkpoint(slot, Checkpoint(handle, 1))
        self.kept[self.cells[slot][-1][1], len(self.cells[slot])] = handle

    @rule(prompt=TOKENS.filter(bool), data=st.data())
    def match(self, prompt: list[int], data: st.DataObject) -> None:
        limit = data.draw(st.integers(1, len(prompt)))
        found = self.tree.match(prompt, limit)
        lengths = [self.longest(slot, prompt, limit) for slot in self.cells]
        assert (found.count if found else 0) == max(lengths, default=0)
        if found:
            assert [token for token, _ in self.cells[found.slot]][: found.count] == prompt[: found.count]
            cell = self.cells[found.slot][found.count - 1][1]
            if found.checkpoint:
                assert self.kept[cell, found.count] == found.checkpoint.handle
            else:
                assert self.ANYWHERE or found.count == len(self.cells[found.slot])

    def longest(self, slot: int, prompt: list[int], limit: int) -> int:
        held = self.cells[slot]
        ends = [
            end
            for end in range(1, min(limit, len(held)) + 1)
            if self.ANYWHERE or end == len(held) or (held[end - 1][1], end) in self.kept
        ]
        return max((end for end in ends if [token for token, _ in held[:end]] == prompt[:end]), default=0)

    @invariant()
    def holds(self) -> None:
        self.tree.check_integrity()
        assert self.tree.cells_used == len({cell for held in self.cells.values() for _, cell in held})
        for slot, held in self.cells.items():
            assert self.tree.tokens(slot) == [token for token, _ in held]
        alive = {cell for held in self.cells.values() for _, cell in held}
        self.kept = {place: handle for place, handle in self.kept.items() if place[0] in alive}


class RecurrentMachine(RadixTreeMachine):
    ANYWHERE = False


TestAnywhere = RadixTreeMachine.TestCase
TestRecurrent = RecurrentMachine.TestCase


@pytest.mark.parametrize("at", [0, 1, 999, 1000])
def test_the_first_difference_is_found_wherever_it_is(at: int) -> None:
    prompt = list(range(1000))
    held = [*prompt[:at], -1, *prompt[at:]]

    found = holding(held).match(prompt, 1000)

    assert (found.count if found else 0) == at

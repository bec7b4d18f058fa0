"""What every slot of the cache has computed, and which slots share it: pure bookkeeping over ints and lists.

Slots that were forked from each other share the cells of their common beginning. So what all of them hold is a tree of
runs of tokens: a slot holds the runs from the root to its tip, and a cell counts once however many slots lead through
it. Two slots that computed the same tokens by themselves do not share, and are branches that begin alike.

A recurrent state stands for all tokens before it and cannot be cut back. Where a model has one, a slot can be forked
at its tip, or where a copy of the state was kept: at a checkpoint.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Checkpoint:
    """A copy of the state after some tokens, outside the cache. `handle` is the backend's name for it."""

    handle: int
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Match:
    """The first `count` tokens of a prompt that `slot` holds too, forked from its `checkpoint` where it needs one."""

    slot: int
    count: int
    checkpoint: Checkpoint | None = None


@dataclass(eq=False, slots=True)
class _Node:
    """Tokens that follow each other, held by the same slots."""

    parent: "_Node | None"
    start: int
    """Position of the first token."""
    tokens: list[int] = field(default_factory=list)
    branches: list["_Node"] = field(default_factory=list)
    tips: set[int] = field(default_factory=set)
    """Slots that end here."""
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict)
    """By the number of tokens they stand for; after the run's first token at the earliest."""

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)


class RadixTree:
    """The tokens of all slots in use. `anywhere`: a slot may be forked at any of its tokens."""

    def __init__(self, *, can_fork_anywhere: bool = True) -> None:
        self.can_fork_anywhere = can_fork_anywhere
        self.cells_used = 0
        """Cells that hold a token, shared ones counted once."""
        self._root = _Node(None, 0)
        self._tips: dict[int, _Node] = {}
        self._dropped: list[Checkpoint] = []

    def __contains__(self, slot: int) -> bool:
        return slot in self._tips

    def length(self, slot: int) -> int:
        """Tokens that a slot holds."""
        return self._tips[slot].end

    def tokens(self, slot: int) -> list[int]:
        """The tokens that a slot holds."""
        return [token for run in self._path(slot) for token in run.tokens]

    def open(self, slot: int) -> None:
        """Take a slot into use; it holds nothing."""
        assert slot not in self._tips
        self._stand(slot, self._root)

    def extend(self, slot: int, tokens: Sequence[int]) -> None:
        """Note that a slot has computed more tokens."""
        if not tokens:
            return
        run = self._tips[slot]
        if run is self._root or run.branches or len(run.tips) > 1:
            run.tips.discard(slot)
            run = self._branch(run)
            self._stand(slot, run)
        run.tokens += tokens
        self.cells_used += len(tokens)

    def fork(self, source: int, slot: int, count: int) -> None:
        """Take a slot into use that shares the first `count` tokens of another."""
        assert slot not in self._tips
        assert count <= self.length(source)
        run = self._tips[source]
        while run.start >= count and run.parent is not None:
            run = run.parent
        if count < run.end:
            run = self._split(run, count)
        self._stand(slot, run)

    def close(self, slot: int) -> None:
        """Forget what a slot holds. Cells that no other slot leads through are free, and their checkpoints dropped."""
        run: _Node | None = self._tips.pop(slot)
        assert run is not None
        run.tips.discard(slot)
        while run.parent is not None and not run.tips and not run.branches:
            self.cells_used -= len(run.tokens)
            self._dropped += run.checkpoints.values()
            run.parent.branches.remove(run)
            run = run.parent
        self._merge(run)

    def private(self, slot: int) -> int:
        """Cells that `close` would free."""
        count, run = 0, self._tips[slot]
        only = run.tips == {slot} and not run.branches
        while only and run.parent is not None:
            count += len(run.tokens)
            run = run.parent
            only = not run.tips and len(run.branches) == 1
        return count

    def held_only_by(self, slots: Container[int]) -> int:
        """Cells that none but these slots hold."""
        return self.cells_used - self._held(self._root, slots)[1]

    def _held(self, run: _Node, slots: Container[int]) -> tuple[bool, int]:
        """Whether another slot than these leads through a run, and the cells that others hold from here on."""
        others = any(slot not in slots for slot in run.tips)
        below = 0
        for branch in run.branches:
            led, count = self._held(branch, slots)
            others |= led
            below += count
        return others, below + (len(run.tokens) if others else 0)

    def keep(self, slot: int, checkpoint: Checkpoint) -> None:
        """Note a copy of the state at a slot's tip; one that was there before is dropped."""
        run = self._tips[slot]
        assert run.tokens
        before = run.checkpoints.get(run.end)
        if before is not None:
            self._dropped.append(before)
        run.checkpoints[run.end] = checkpoint

    def has_checkpoint(self, slot: int) -> bool:
        """Whether there is a copy of the state at a slot's tip."""
        run = self._tips[slot]
        return run.end in run.checkpoints

    @property
    def handles(self) -> set[int]:
        """The handles of all checkpoints."""
        return {checkpoint.handle for run in self._runs() for checkpoint in run.checkpoints.values()}

    def drop(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Forget some checkpoints."""
        gone = {checkpoint.handle for checkpoint in checkpoints}
        for run in self._runs():
            for count, checkpoint in list(run.checkpoints.items()):
                if checkpoint.handle in gone:
                    del run.checkpoints[count]
                    self._dropped.append(checkpoint)

    def take_dropped(self) -> list[Checkpoint]:
        """Return the checkpoints whose copies the backend can free, and forget them."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def match(self, prompt: Sequence[int], limit: int, unforkable: Mapping[int, int] | None = None) -> Match | None:
        """The slot that shares the longest usable beginning with a prompt, `limit` tokens at most; None: none does.

        `barred` has for some slots the number of tokens up to which they cannot be forked.
        """
        unforkable = unforkable or {}
        best: Match | None = None
        open_ends = [*self._root.branches]
        while open_ends:
            run = open_ends.pop()
            shared = run.start + common(run.tokens, prompt, run.start)
            found = self._usable(run, min(shared, limit), unforkable)
            if found is not None and (best is None or found.count > best.count):
                best = found
            if shared == run.end and shared < limit:
                open_ends += run.branches
        return best

    def check_integrity(self) -> None:
        """Assert what must always hold. For tests."""
        runs = list(self._runs())
        assert self.cells_used == sum(len(run.tokens) for run in runs)
        assert {slot: id(run) for run in [self._root, *runs] for slot in run.tips} == {
            slot: id(run) for slot, run in self._tips.items()
        }
        assert sum(len(run.tips) for run in [self._root, *runs]) == len(self._tips)
        for run in runs:
            assert run.parent is not None
            assert run.tokens
            assert run.start == run.parent.end
            assert run in run.parent.branches
            assert run.tips or run.branches, "a run that nobody holds"
            assert run.tips or len(run.branches) > 1, "two runs that the same slots hold"
            assert all(run.start < count <= run.end for count in run.checkpoints)
        assert len(self.handles) == sum(len(run.checkpoints) for run in runs)

    def _usable(self, run: _Node, count: int, unforkable: Mapping[int, int]) -> Match | None:
        """The longest beginning of `count` tokens at most that ends in this run and can be forked."""
        if count <= run.start:
            return None
        at_tip = count == run.end and any(unforkable.get(slot, 0) < count for slot in run.tips)
        kept = None
        if not (self.can_fork_anywhere or at_tip):
            kept = count = max((end for end in run.checkpoints if end <= count), default=0)
        slots = sorted(run.tips) if at_tip else _slots_through(run)
        slot = next((slot for slot in slots if unforkable.get(slot, 0) < count), None)
        return None if slot is None else Match(slot, count, None if kept is None else run.checkpoints[kept])

    def _stand(self, slot: int, run: _Node) -> None:
        self._tips[slot] = run
        run.tips.add(slot)

    def _branch(self, run: _Node) -> _Node:
        made = _Node(run, run.end)
        run.branches.append(made)
        return made

    def _split(self, run: _Node, count: int) -> _Node:
        """Cut a run so that one ends after `count` tokens of the whole, and return that one."""
        assert run.parent is not None
        at = count - run.start
        upper = _Node(run.parent, run.start, run.tokens[:at], [run])
        upper.checkpoints = {end: kept for end, kept in run.checkpoints.items() if end <= count}
        run.checkpoints = {end: kept for end, kept in run.checkpoints.items() if end > count}
        run.parent.branches[run.parent.branches.index(run)] = upper
        run.parent, run.start, run.tokens = upper, count, run.tokens[at:]
        return upper

    def _merge(self, run: _Node) -> None:
        """Make one of a run and the only one that follows it, when no slot ends between them."""
        if run.parent is None or run.tips or len(run.branches) != 1:
            return
        after = run.branches[0]
        run.tokens += after.tokens
        run.checkpoints |= after.checkpoints
        run.tips, run.branches = after.tips, after.branches
        for branch in run.branches:
            branch.parent = run
        for slot in run.tips:
            self._tips[slot] = run

    def _path(self, slot: int) -> list[_Node]:
        path, run = [], self._tips[slot]
        while run.parent is not None:
            path.append(run)
            run = run.parent
        return path[::-1]

    def _runs(self) -> Iterator[_Node]:
        open_ends = [*self._root.branches]
        while open_ends:
            run = open_ends.pop()
            yield run
            open_ends += run.branches


def _slots_through(run: _Node) -> Iterator[int]:
    """Yield the slots that lead through a run."""
    yield from sorted(run.tips)
    for branch in run.branches:
        yield from _slots_through(branch)


def common(run: Sequence[int], prompt: Sequence[int], start: int = 0) -> int:
    """Return how many tokens of `run` stand in `prompt` from `start` on."""
    most = min(len(run), len(prompt) - start)
    if run[:most] == prompt[start : start + most]:
        return most
    low, high = 0, most  # run[:low] is shared, run[:high] is not
    while high - low > 1:
        middle = (low + high) // 2
        if run[low:middle] == prompt[start + low : start + middle]:
            low = middle
        else:
            high = middle
    return low

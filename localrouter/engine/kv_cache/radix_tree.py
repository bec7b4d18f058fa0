"""A radix tree of the tokens in all slots: which slots share which prefix. Bookkeeping over ints and lists only.

Slots that were forked from each other share the KV cells of their common prefix. So the contents of all slots form a
tree. A node is a sequence of tokens that the same slots hold; a slot holds the nodes on the path from the root to the
node of its last token, its tip. A cell counts once however many slots share it. Two slots that computed the same tokens
independently share nothing: their nodes are siblings with a common prefix.

A recurrent state summarises all tokens before it and cannot be cut back. A model that has one can fork a slot at its
tip, or at a checkpoint, where a copy of the state was kept.
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from localrouter.engine.kv_cache.checkpoints import Checkpoint


@dataclass(frozen=True)
class Match:
    """The longest cached prefix of a prompt: the first `count` tokens of a slot, to be forked from there."""

    slot: int
    count: int
    checkpoint: Checkpoint | None = None
    """The copy of the state after `count` tokens; None where the fork does not need one."""


@dataclass(eq=False, slots=True)
class _Node:
    """Consecutive tokens that the same slots hold."""

    parent: "_Node | None"
    start: int
    """Position of the first token."""
    tokens: list[int] = field(default_factory=list)
    children: list["_Node"] = field(default_factory=list)
    tips: set[int] = field(default_factory=set)
    """Slots whose last token is the last of this node."""
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict)
    """Copies of the state within this node, by the number of tokens from the root that the state is of."""

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)


class RadixTree:
    """The tokens of all running and idle slots."""

    def __init__(self, *, can_fork_anywhere: bool = True) -> None:
        """`can_fork_anywhere` means that a slot can be forked at any of its tokens, without a checkpoint."""
        self.can_fork_anywhere = can_fork_anywhere
        self.cells_used = 0
        """Number of cells that hold a token, shared ones counted once."""
        self._root = _Node(None, 0)
        self._tips: dict[int, _Node] = {}
        self._dropped: list[Checkpoint] = []

    def __contains__(self, slot: int) -> bool:
        return slot in self._tips

    def length(self, slot: int) -> int:
        """Return the number of tokens in a slot."""
        return self._tips[slot].end

    def tokens(self, slot: int) -> list[int]:
        """Return the tokens in a slot."""
        return [token for node in self._path(slot) for token in node.tokens]

    def open(self, slot: int) -> None:
        """Add a slot that holds no tokens."""
        assert slot not in self._tips
        self._set_tip(slot, self._root)

    def extend(self, slot: int, tokens: Sequence[int]) -> None:
        """Append tokens to a slot."""
        if not tokens:
            return
        node = self._tips[slot]
        if node is self._root or node.children or len(node.tips) > 1:
            node.tips.discard(slot)
            node = self._add_child(node)
            self._set_tip(slot, node)
        node.tokens += tokens
        self.cells_used += len(tokens)

    def fork(self, source: int, slot: int, count: int) -> None:
        """Add a slot that shares the first `count` tokens of `source`."""
        assert slot not in self._tips
        assert count <= self.length(source)
        node = self._tips[source]
        while node.start >= count and node.parent is not None:
            node = node.parent
        if count < node.end:
            node = self._split(node, count)
        self._set_tip(slot, node)

    def close(self, slot: int) -> None:
        """Remove a slot, with the cells that no other slot shares and their checkpoints."""
        node: _Node | None = self._tips.pop(slot)
        assert node is not None
        node.tips.discard(slot)
        while node.parent is not None and not node.tips and not node.children:
            self.cells_used -= len(node.tokens)
            self._dropped += node.checkpoints.values()
            node.parent.children.remove(node)
            node = node.parent
        self._merge(node)

    def exclusive_cells(self, slot: int) -> int:
        """Return the number of cells that no other slot shares: as many as `close` would free."""
        count, node = 0, self._tips[slot]
        is_exclusive = node.tips == {slot} and not node.children
        while is_exclusive and node.parent is not None:
            count += len(node.tokens)
            node = node.parent
            is_exclusive = not node.tips and len(node.children) == 1
        return count

    def held_only_by(self, slots: Container[int]) -> int:
        """Return the number of cells that no slot outside of `slots` holds."""
        return self.cells_used - self._held_by_others(self._root, slots)[1]

    def _held_by_others(self, node: _Node, slots: Container[int]) -> tuple[bool, int]:
        """Return whether a slot outside of `slots` holds a node, and how many cells such slots hold from it on."""
        is_held = any(slot not in slots for slot in node.tips)
        below = 0
        for child in node.children:
            child_is_held, count = self._held_by_others(child, slots)
            is_held |= child_is_held
            below += count
        return is_held, below + (len(node.tokens) if is_held else 0)

    def add_checkpoint(self, slot: int, checkpoint: Checkpoint) -> None:
        """Record a copy of the state at a slot's tip. A checkpoint that was there before is dropped."""
        node = self._tips[slot]
        assert node.tokens
        before = node.checkpoints.get(node.end)
        if before is not None:
            self._dropped.append(before)
        node.checkpoints[node.end] = checkpoint

    def has_checkpoint(self, slot: int) -> bool:
        """Return whether there is a checkpoint at a slot's tip."""
        node = self._tips[slot]
        return node.end in node.checkpoints

    @property
    def handles(self) -> set[int]:
        """Handles of all checkpoints."""
        return {checkpoint.handle for node in self._nodes() for checkpoint in node.checkpoints.values()}

    def drop_checkpoints(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Remove these checkpoints."""
        handles = {checkpoint.handle for checkpoint in checkpoints}
        for node in self._nodes():
            for count, checkpoint in list(node.checkpoints.items()):
                if checkpoint.handle in handles:
                    del node.checkpoints[count]
                    self._dropped.append(checkpoint)

    def take_dropped(self) -> list[Checkpoint]:
        """Return the checkpoints that were removed since the last call, for the backend to free their copies."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def match(self, prompt: Sequence[int], limit: int, unforkable: Mapping[int, int] | None = None) -> Match | None:
        """Return the longest prefix of a prompt, of `limit` tokens at most, that a slot holds and can be forked at.

        `unforkable` has for some slots the number of tokens up to which they cannot be forked. Returns None if no slot
        shares a token with the prompt.
        """
        unforkable = unforkable or {}
        best: Match | None = None
        unvisited = [*self._root.children]
        while unvisited:
            node = unvisited.pop()
            shared = node.start + common_length(node.tokens, prompt, node.start)
            found = self._match_in(node, min(shared, limit), unforkable)
            if found is not None and (best is None or found.count > best.count):
                best = found
            if shared == node.end and shared < limit:
                unvisited += node.children
        return best

    def check_integrity(self) -> None:
        """Assert the invariants of the tree. For tests."""
        nodes = list(self._nodes())
        assert self.cells_used == sum(len(node.tokens) for node in nodes)
        assert {slot: id(node) for node in [self._root, *nodes] for slot in node.tips} == {
            slot: id(node) for slot, node in self._tips.items()
        }
        assert sum(len(node.tips) for node in [self._root, *nodes]) == len(self._tips)
        for node in nodes:
            assert node.parent is not None
            assert node.tokens
            assert node.start == node.parent.end
            assert node in node.parent.children
            assert node.tips or node.children, "a node that no slot holds"
            assert node.tips or len(node.children) > 1, "two nodes that the same slots hold"
            assert all(node.start < count <= node.end for count in node.checkpoints)
        assert len(self.handles) == sum(len(node.checkpoints) for node in nodes)

    def _match_in(self, node: _Node, count: int, unforkable: Mapping[int, int]) -> Match | None:
        """Return the longest prefix, of `count` tokens at most, that ends in this node and at which a slot can fork."""
        if count <= node.start:
            return None
        at_tip = count == node.end and any(unforkable.get(slot, 0) < count for slot in node.tips)
        checkpoint = None
        if not (self.can_fork_anywhere or at_tip):
            count = max((end for end in node.checkpoints if end <= count), default=0)
            checkpoint = node.checkpoints.get(count)
        slots = sorted(node.tips) if at_tip else _slots_through(node)
        slot = next((slot for slot in slots if unforkable.get(slot, 0) < count), None)
        return None if slot is None else Match(slot, count, checkpoint)

    def _set_tip(self, slot: int, node: _Node) -> None:
        self._tips[slot] = node
        node.tips.add(slot)

    def _add_child(self, node: _Node) -> _Node:
        child = _Node(node, node.end)
        node.children.append(child)
        return child

    def _split(self, node: _Node, count: int) -> _Node:
        """Split a node after the token at position `count - 1`, and return the upper part."""
        assert node.parent is not None
        at = count - node.start
        upper = _Node(node.parent, node.start, node.tokens[:at], [node])
        upper.checkpoints = {end: kept for end, kept in node.checkpoints.items() if end <= count}
        node.checkpoints = {end: kept for end, kept in node.checkpoints.items() if end > count}
        node.parent.children[node.parent.children.index(node)] = upper
        node.parent, node.start, node.tokens = upper, count, node.tokens[at:]
        return upper

    def _merge(self, node: _Node) -> None:
        """Merge a node with its only child if no slot ends between them."""
        if node.parent is None or node.tips or len(node.children) != 1:
            return
        child = node.children[0]
        node.tokens += child.tokens
        node.checkpoints |= child.checkpoints
        node.tips, node.children = child.tips, child.children
        for grandchild in node.children:
            grandchild.parent = node
        for slot in node.tips:
            self._tips[slot] = node

    def _path(self, slot: int) -> list[_Node]:
        """Return the nodes from the root, itself left out, to a slot's tip."""
        path, node = [], self._tips[slot]
        while node.parent is not None:
            path.append(node)
            node = node.parent
        return path[::-1]

    def _nodes(self) -> Iterator[_Node]:
        """Yield all nodes but the root."""
        unvisited = [*self._root.children]
        while unvisited:
            node = unvisited.pop()
            yield node
            unvisited += node.children


def _slots_through(node: _Node) -> Iterator[int]:
    """Yield the slots that hold a node."""
    yield from sorted(node.tips)
    for child in node.children:
        yield from _slots_through(child)


def common_length(tokens: Sequence[int], prompt: Sequence[int], start: int = 0) -> int:
    """Return how many of the first `tokens` equal those of `prompt` from position `start` on.

    A binary search over slices, which are compared in C, is much faster than a loop over tokens.
    """
    most = min(len(tokens), len(prompt) - start)
    if tokens[:most] == prompt[start : start + most]:
        return most
    low, high = 0, most  # tokens[:low] are equal, tokens[:high] are not
    while high - low > 1:
        middle = (low + high) // 2
        if tokens[low:middle] == prompt[start + low : start + middle]:
            low = middle
        else:
            high = middle
    return low

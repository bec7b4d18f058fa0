"""Beginnings of conversations whose keys and values lie outside the cache, in memory of our own: pure bookkeeping.

What is kept of a conversation is what no other excerpt has of it already: two conversations behind one system prompt
have three excerpts, the prompt and what follows it in each. So an excerpt is of use where what comes before it is in
the cache, or can be brought back first.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from localrouter.engine.kv_cache.radix_tree import common

WORTH = 64
"""Tokens under which no copy is made or brought back: they are computed as one tile."""
_MOST = 1024
"""Excerpts, all of which are looked at for every new prompt."""


@dataclass(frozen=True)
class StoredPrefix:
    """The tokens of a conversation from position `start` on. `handle` is the name of the copy of their cells."""

    handle: int
    start: int
    tokens: Sequence[int]
    """From the first position of the conversation on: keys and values depend on all that comes before."""

    @property
    def end(self) -> int:
        """The position after the last."""
        return len(self.tokens)


class HostStore:
    """Excerpts, the least recently used ones forgotten first."""

    def __init__(self, cells: int, worth: int = WORTH) -> None:
        """`cells` is how many the copies of all excerpts may have together, `worth` the tokens of one at least."""
        self.most_cells = cells
        self.worth = worth
        self.cells = 0
        """Cells that are copied."""
        self._excerpts: OrderedDict[int, StoredPrefix] = OrderedDict()
        self._handles = 0

    @property
    def handles(self) -> set[int]:
        """The handles of all excerpts."""
        return set(self._excerpts)

    def covered(self, tokens: Sequence[int], start: int = 0) -> int:
        """Return the position up to which excerpts have these tokens, one following the other from `start` on."""
        covered = start
        while found := self.find(tokens, covered, len(tokens), self.most_cells):
            covered = common(found.tokens, tokens)
        return covered

    def find(self, prompt: Sequence[int], here: int, most: int, room: int) -> StoredPrefix | None:
        """Return the excerpt that goes on furthest with a prompt of which the first `here` tokens are in the cache.

        None when none has `worth` tokens more before position `most`, or its cells do not fit into `room`.
        """
        best, furthest = None, here + self.worth - 1
        for excerpt in self._excerpts.values():
            if excerpt.start > here or excerpt.end <= furthest or excerpt.end - excerpt.start > room:
                continue
            if excerpt.tokens[here:furthest] != prompt[here:furthest]:
                continue
            shared = min(common(excerpt.tokens, prompt), most)
            if shared > furthest:
                best, furthest = excerpt, shared
        if best is not None:
            self._excerpts.move_to_end(best.handle)
        return best

    def keep(self, tokens: Sequence[int], start: int) -> StoredPrefix:
        """Note that the cells of `tokens` from `start` on are copied, and return the name of that copy."""
        self._handles += 1
        excerpt = StoredPrefix(self._handles, start, tokens)
        self._excerpts[excerpt.handle] = excerpt
        self.cells += excerpt.end - start
        return excerpt

    def forget(self, handle: int) -> None:
        """Forget an excerpt, whose copy turned out to be of no use; nothing where it is forgotten already."""
        excerpt = self._excerpts.pop(handle, None)
        if excerpt is not None:
            self.cells -= excerpt.end - excerpt.start

    def beginning(self, tokens: Sequence[int], count: int) -> list[int]:
        """Return the handles of all excerpts of the first `count` of these tokens."""
        excerpts = self._excerpts.values()
        return [each.handle for each in excerpts if each.start < count <= common(each.tokens, tokens)]

    def surplus(self) -> list[int]:
        """Forget what is too much, and return the handles of the copies that can go."""
        gone = []
        while self._excerpts and (self.cells > self.most_cells or len(self._excerpts) > _MOST):
            gone.append(next(iter(self._excerpts)))
            self.forget(gone[-1])
        return gone

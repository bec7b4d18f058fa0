"""The host store: which prefixes of conversations have a copy of their KV cells in host memory. Bookkeeping only.

Each copy holds the cells that no other copy holds: two conversations behind one system prompt make three copies, one
of the system prompt and one of the rest of each. A copy can be restored into a slot only where all tokens before it are
in the cache already, or are restored first.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from localrouter.engine.kv_cache.radix_tree import common_length

MIN_TOKENS = 64
"""Smallest copy that is made or restored, in tokens: fewer are computed as fast, in one tile."""
_MAX_PREFIXES = 1024
"""Largest number of prefixes, because each new prompt is compared with all of them."""


@dataclass(frozen=True)
class StoredPrefix:
    """The first tokens of a conversation, of which those from position `start` on have their KV cells copied."""

    handle: int
    """Id of the copy."""
    start: int
    """Position of the first token whose cell is copied."""
    tokens: Sequence[int]
    """All tokens of the prefix, from position 0 on, because keys and values depend on all tokens before them."""

    @property
    def end(self) -> int:
        """Position after the last token."""
        return len(self.tokens)


class HostStore:
    """Stored prefixes, ordered by their last use; the least recently used are evicted first."""

    def __init__(self, max_cells: int, min_tokens: int = MIN_TOKENS) -> None:
        """`max_cells` limits the cells of all copies together, 0 for no store; `min_tokens` is the smallest copy."""
        self.max_cells = max_cells
        self.min_tokens = min_tokens
        self.cells = 0
        """Number of KV cells that have a copy."""
        self._prefixes: OrderedDict[int, StoredPrefix] = OrderedDict()
        self._last_handle = 0

    @property
    def is_enabled(self) -> bool:
        """Whether anything can be stored."""
        return self.max_cells > 0

    @property
    def handles(self) -> set[int]:
        """Handles of all stored prefixes."""
        return set(self._prefixes)

    def covered(self, tokens: Sequence[int], start: int = 0) -> int:
        """Return the position up to which stored prefixes hold these tokens without a gap from `start` on."""
        covered = start
        while found := self.find(tokens, covered, len(tokens), self.max_cells):
            covered = common_length(found.tokens, tokens)
        return covered

    def find(self, prompt: Sequence[int], cached: int, limit: int, max_cells: int) -> StoredPrefix | None:
        """Return the stored prefix that has most of a prompt beyond its first `cached` tokens, which the cache holds.

        Only tokens before position `limit` count. Returns None if no prefix of at most `max_cells` copied cells adds
        `min_tokens` tokens.
        """
        best, furthest = None, cached + self.min_tokens - 1
        for prefix in self._prefixes.values():
            if prefix.start > cached or prefix.end <= furthest or prefix.end - prefix.start > max_cells:
                continue
            if prefix.tokens[cached:furthest] != prompt[cached:furthest]:
                continue
            shared = min(common_length(prefix.tokens, prompt), limit)
            if shared > furthest:
                best, furthest = prefix, shared
        if best is not None:
            self._prefixes.move_to_end(best.handle)
        return best

    def add(self, tokens: Sequence[int], start: int) -> StoredPrefix:
        """Record that the KV cells of `tokens` from position `start` on are copied, and return the new prefix."""
        self._last_handle += 1
        prefix = StoredPrefix(self._last_handle, start, tokens)
        self._prefixes[prefix.handle] = prefix
        self.cells += prefix.end - start
        return prefix

    def remove(self, handle: int) -> None:
        """Remove a stored prefix; does nothing if it is not there."""
        prefix = self._prefixes.pop(handle, None)
        if prefix is not None:
            self.cells -= prefix.end - prefix.start

    def containing(self, tokens: Sequence[int], count: int) -> list[int]:
        """Return the handles of the copies that begin within the first `count` of these tokens and have all of them."""
        prefixes = self._prefixes.values()
        return [each.handle for each in prefixes if each.start < count <= common_length(each.tokens, tokens)]

    def evict(self) -> list[int]:
        """Remove the least recently used prefixes until the limits hold, and return their handles."""
        evicted = []
        while self._prefixes and (self.cells > self.max_cells or len(self._prefixes) > _MAX_PREFIXES):
            evicted.append(next(iter(self._prefixes)))
            self.remove(evicted[-1])
        return evicted

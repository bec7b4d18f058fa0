"""The slots of the cache: each is free, running or idle.

A slot is one sequence id of the backend. A free slot holds nothing; in a running slot a sequence is computed; an idle
slot keeps the tokens of a sequence that has ended, so that a later prompt with the same prefix can reuse them.
"""

from collections import OrderedDict
from collections.abc import KeysView


class Slots:
    """Records which slots are free and which are idle; all others are running."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = list(range(count - 1, -1, -1))
        self._idle: OrderedDict[int, None] = OrderedDict()

    @property
    def free(self) -> list[int]:
        """The free slots in ascending order."""
        return sorted(self._free)

    @property
    def idle(self) -> KeysView[int]:
        """The idle slots, least recently used first."""
        return self._idle.keys()

    def take_free(self) -> int | None:
        """Return a free slot, which is running from now on; None if there is none."""
        return self._free.pop() if self._free else None

    def resume(self, slot: int) -> None:
        """Turn an idle slot into a running one."""
        del self._idle[slot]

    def make_idle(self, slot: int) -> None:
        """Turn a running slot into an idle one, the most recently used."""
        self._idle[slot] = None

    def touch(self, slot: int) -> None:
        """Make a slot, if it is idle, the most recently used idle one."""
        if slot in self._idle:
            self._idle.move_to_end(slot)

    def make_free(self, slot: int) -> None:
        """Turn a running or idle slot into a free one."""
        self._idle.pop(slot, None)
        self._free.append(slot)

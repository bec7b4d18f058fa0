"""Which build an alias means where none has to be on disk yet: the largest that fits this machine."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from localrouter.weights.manifest.registry import Entry

SHARE = 0.7
"""Of the memory that a file may fill. The rest is for the cache of the conversations, and for everything else."""


@dataclass(frozen=True)
class Choice:
    """The build that is meant. `considered` counts the builds that it was chosen from; 1: there was no choice."""

    entry: Entry
    considered: int
    fits: bool


def choose(entries: Sequence[Entry], memory: int) -> Choice:
    """The largest build of at most 70 % of `memory` bytes; where none is so small, the smallest.

    Builds of the hub go before those that cannot be downloaded. A build of unknown size counts as too large.
    """
    candidates = [entry for entry in entries if entry.build.source == "hub"] or list(entries)
    if len(candidates) == 1:
        return Choice(candidates[0], 1, fits=True)
    by_size = sorted(candidates, key=lambda entry: size_of(entry) or float("inf"))
    fitting = [entry for entry in by_size if (size_of(entry) or float("inf")) <= SHARE * memory]
    return Choice((fitting or by_size[:1])[-1], len(candidates), fits=bool(fitting))


def size_of(entry: Entry) -> int | None:
    """Bytes of all files of a build, by its pin or its manifest."""
    pin = entry.pin
    return entry.build.size if pin is None else pin.size


def physical_memory() -> int:
    """Bytes of RAM that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

"""Faults put into a backend now and then, each of a kind that the engine has to live with."""

import random
from collections import Counter, defaultdict

import numpy as np

from localrouter.engine.backends.base import BatchRefused, CacheFull, Logits
from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.engine.kv_cache.radix_tree import Checkpoint
from localrouter.engine.scheduling.batch import Batch

FULL, REFUSED, NOT_FINITE = 0.01, 0.003, 0.006
"""How often a step finds no place, is refused, has a row of nonsense."""
NO_FORK, NO_STORE, NO_RESTORE = 0.03, 0.05, 0.1
"""How often a fork fails, a copy of cells cannot be made or brought back."""

_FAULTY = ("decode", "fork", "store", "restore", "forget", "keep_state", "discard_state")


class Faults:
    """Stands before a backend. It notes what it did itself, and what the backend did."""

    def __init__(self, backend: LlamaBackend, draw: random.Random) -> None:
        self._backend, self._draw = backend, draw
        self.counts: Counter[str] = Counter()
        self.codes: defaultdict[int, set[str]] = defaultdict(set)
        """The errors with which requests may end, by their numbers."""
        self.states: set[int] = set()
        """The handles of the copies of states that were made and not freed."""
        self.excerpts: set[int] = set()
        """The same of cells."""
        self._real = {name: getattr(backend, name) for name in _FAULTY}
        for name in _FAULTY:
            setattr(backend, name, getattr(self, name))

    def decode(self, batch: Batch) -> Logits:
        """Compute a batch, or pretend that it cannot be."""
        chance = self._draw.random()
        if chance < FULL:
            self._note("cache_full", batch)
            raise CacheFull
        if chance < FULL + REFUSED:
            self._note("batch_refused", batch)
            raise BatchRefused("a fault on purpose")
        try:
            logits: Logits = self._real["decode"](batch)
        except CacheFull:
            self.counts["cache full by itself"] += 1
            raise
        return self._spoilt(logits, batch) if self._draw.random() < NOT_FINITE and batch.sampled else logits

    def fork(self, source: int, slot: int, count: int, checkpoint: Checkpoint | None) -> bool:
        """Fork, or leave the slot empty."""
        if self._fails("no_fork", NO_FORK):
            self._backend.clear(slot)
            return False
        return self._counted("forks", self._real["fork"](source, slot, count, checkpoint))

    def store(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Copy cells, or pretend that there is no memory for it."""
        assert handle not in self.excerpts
        if self._fails("no_store", NO_STORE):
            return False
        stored = self._counted("stores", self._real["store"](handle, slot, start, end))
        if stored:
            self.excerpts.add(handle)
        return stored

    def restore(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Bring cells back, or leave the slot as it is."""
        if self._fails("no_restore", NO_RESTORE):
            return False
        return self._counted("restores", self._real["restore"](handle, slot, start, end))

    def forget(self, handle: int) -> None:
        """Free a copy of cells."""
        self.excerpts.discard(handle)
        self._real["forget"](handle)

    def keep_state(self, slot: int) -> Checkpoint:
        """Copy a state; there is memory enough."""
        checkpoint: Checkpoint = self._real["keep_state"](slot)
        assert checkpoint.handle not in self.states
        self.states.add(checkpoint.handle)
        return checkpoint

    def discard_state(self, checkpoint: Checkpoint) -> None:
        """Free a copy of a state."""
        self.states.remove(checkpoint.handle)
        self._real["discard_state"](checkpoint)

    def _fails(self, fault: str, share: float) -> bool:
        fails = self._draw.random() < share
        self.counts[fault] += fails
        return fails

    def _counted(self, what: str, done: bool) -> bool:
        self.counts[what if done else f"{what} refused by itself"] += 1
        return done

    def _spoilt(self, logits: Logits, batch: Batch) -> Logits:
        self.counts["not_finite"] += 1
        row = self._draw.randrange(len(batch.sampled))
        self.codes[batch.sampled[row].id].add("not_finite")
        logits = logits.copy()
        logits[row, self._draw.randrange(logits.shape[1])] = np.nan
        return logits

    def _note(self, code: str, batch: Batch) -> None:
        self.counts[code] += 1
        for sequence, _ in batch.chunks:
            self.codes[sequence.id].add(code)

"""Fault injection: random failures of a backend, each of a kind that the engine has to handle."""

import random
from collections import Counter, defaultdict

import numpy as np

from localrouter.engine.backends.base import BatchRefused, CacheFull, Logits
from localrouter.engine.backends.llama.backend import LlamaBackend
from localrouter.engine.kv_cache.checkpoints import Checkpoint
from localrouter.engine.scheduling.batch import Batch

FULL, REFUSED, NOT_FINITE = 0.01, 0.003, 0.006
"""Probabilities that decoding finds the cache full, refuses the batch, or returns a row that is not finite."""
NO_FORK, NO_STORE, NO_RESTORE = 0.03, 0.05, 0.1
"""Probabilities that a fork, a copy of cells, or its restoring fails."""

_FAULTY = ("decode", "fork", "store", "restore", "forget", "save_state", "discard_state")


class Faults:
    """Wraps a backend's methods; injects faults, and records these and the copies that the backend holds."""

    def __init__(self, backend: LlamaBackend, draw: random.Random) -> None:
        self._backend, self._draw = backend, draw
        self.counts: Counter[str] = Counter()
        self.codes: defaultdict[int, set[str]] = defaultdict(set)
        """Error codes that requests may end with, by request number."""
        self.states: set[int] = set()
        """Handles of copies of states that were made and not freed."""
        self.copies: set[int] = set()
        """Handles of copies of cells that were made and not freed."""
        self._real = {name: getattr(backend, name) for name in _FAULTY}
        for name in _FAULTY:
            setattr(backend, name, getattr(self, name))

    def decode(self, batch: Batch) -> Logits:
        """Compute a batch, or raise CacheFull or BatchRefused, or spoil a row of logits."""
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
        """Fork, or leave the slot empty and return False."""
        if self._fails("no_fork", NO_FORK):
            self._backend.clear(slot)
            return False
        return self._counted("forks", self._real["fork"](source, slot, count, checkpoint))

    def store(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Copy cells, or return False as if there was no memory."""
        assert handle not in self.copies
        if self._fails("no_store", NO_STORE):
            return False
        stored = self._counted("stores", self._real["store"](handle, slot, start, end))
        if stored:
            self.copies.add(handle)
        return stored

    def restore(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Restore cells, or leave the slot as it is and return False."""
        if self._fails("no_restore", NO_RESTORE):
            return False
        return self._counted("restores", self._real["restore"](handle, slot, start, end))

    def forget(self, handle: int) -> None:
        """Free a copy of cells."""
        self.copies.discard(handle)
        self._real["forget"](handle)

    def save_state(self, slot: int) -> Checkpoint:
        """Copy a state."""
        checkpoint: Checkpoint = self._real["save_state"](slot)
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
        index = self._draw.randrange(len(batch.sampled))
        row = batch.sampled_outputs[index]
        self.codes[batch.sampled[index].id].add("not_finite")
        logits = logits.copy()
        logits[row, self._draw.randrange(logits.shape[1])] = np.nan
        return logits

    def _note(self, code: str, batch: Batch) -> None:
        self.counts[code] += 1
        for sequence, _ in batch.chunks:
            self.codes[sequence.id].add(code)

"""Copies of what is in the cache, in memory of our own: recurrent states, windows, and the cells of conversations."""

import ctypes
from itertools import count as counting
from typing import Any

import llama_cpp.llama_cpp as api
import numpy as np
from numpy.typing import NDArray

from localrouter.engine.kv_cache.checkpoints import Checkpoint

_PARTIAL = api.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY
"""Of a sequence, only what cannot be cut back: not its keys and values."""
_ALL = 0


class StateCopies:
    """Takes copies of the sequences of a context, and brings them back."""

    def __init__(self, context: Any, scratch: int) -> None:
        """`scratch` is a sequence id that nobody else uses: llama.cpp copies whole sequences only."""
        self._context = context
        self._memory = api.llama_get_memory(context)
        self._scratch = scratch
        self._states: dict[int, NDArray[np.uint8]] = {}
        self._cells: dict[int, NDArray[np.uint8]] = {}
        self._handles = counting()

    def save_state(self, slot: int) -> Checkpoint | None:
        """Copy the recurrent state of a slot, or the windows of sliding layers; None when there is no memory for it."""
        try:
            handle, state = next(self._handles), self._copy(slot, _PARTIAL)
        except MemoryError:
            return None
        self._states[handle] = state
        return Checkpoint(handle, state.size)

    def restore_state(self, checkpoint: Checkpoint, slot: int) -> None:
        """Put the copied state into a slot."""
        self._put(self._states[checkpoint.handle], slot, _PARTIAL)

    def discard_state(self, checkpoint: Checkpoint) -> None:
        """Free the copy."""
        del self._states[checkpoint.handle]

    def store(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Copy the cells of some positions; False when there is no memory for it."""
        api.llama_memory_seq_cp(self._memory, slot, self._scratch, start, end)
        try:
            self._cells[handle] = self._copy(self._scratch, _ALL)
        except MemoryError:
            return False
        finally:
            self._clear_scratch()
        return True

    def restore(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Bring some positions of a copy back into a slot; False when there is no such copy, or no room for it."""
        copy = self._cells.get(handle)
        if copy is None or not self._put(copy, self._scratch, _ALL):
            self._clear_scratch()
            return False
        api.llama_memory_seq_cp(self._memory, self._scratch, slot, start, end)
        self._clear_scratch()
        return int(api.llama_memory_seq_pos_max(self._memory, slot)) == end - 1

    def forget(self, handle: int) -> None:
        """Free a copy of cells; nothing where there is none."""
        self._cells.pop(handle, None)

    def _clear_scratch(self) -> None:
        api.llama_memory_seq_rm(self._memory, self._scratch, -1, -1)

    def _copy(self, sequence: int, flags: int) -> NDArray[np.uint8]:
        size = api.llama_state_seq_get_size_ext(self._context, sequence, flags)
        copy = np.empty(size, np.uint8)
        written = api.llama_state_seq_get_data_ext(self._context, _address(copy), size, sequence, flags)
        assert written == size
        return copy

    def _put(self, copy: NDArray[np.uint8], sequence: int, flags: int) -> bool:
        return bool(api.llama_state_seq_set_data_ext(self._context, _address(copy), copy.size, sequence, flags))


def _address(copy: NDArray[np.uint8]) -> Any:
    return copy.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))

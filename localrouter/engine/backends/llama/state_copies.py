"""Copies from the KV cache in RAM: recurrent states and windows of checkpoints, and the cells of the host store."""

import ctypes
from itertools import count as counting
from typing import Any

import llama_cpp.llama_cpp as api
import numpy as np
from numpy.typing import NDArray

from localrouter.engine.kv_cache.checkpoints import Checkpoint

_PARTIAL = api.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY
"""Flag to copy only the part of a sequence that cannot be truncated, without its keys and values."""
_ALL = 0


class StateCopies:
    """Copies of sequences of a context, made and restored through llama.cpp's state functions."""

    def __init__(self, context: Any, scratch: int) -> None:
        """`scratch` is a sequence id for copying parts: llama.cpp copies whole sequences only."""
        self._context = context
        self._memory = api.llama_get_memory(context)
        self._scratch = scratch
        self._states: dict[int, NDArray[np.uint8]] = {}
        self._cells: dict[int, NDArray[np.uint8]] = {}
        self._handles = counting()

    def save_state(self, slot: int) -> Checkpoint | None:
        """Copy the recurrent state of a slot, or the windows of sliding layers; None without memory for it."""
        try:
            handle, state = next(self._handles), self._copy(slot, _PARTIAL)
        except MemoryError:
            return None
        self._states[handle] = state
        return Checkpoint(handle, state.size)

    def restore_state(self, checkpoint: Checkpoint, slot: int) -> None:
        """Copy a saved state back into a slot."""
        self._put(self._states[checkpoint.handle], slot, _PARTIAL)

    def discard_state(self, checkpoint: Checkpoint) -> None:
        """Free the copy of a state."""
        del self._states[checkpoint.handle]

    def store(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Copy the cells of a slot from position `start` to `end`; False without memory for the copy."""
        api.llama_memory_seq_cp(self._memory, slot, self._scratch, start, end)
        try:
            self._cells[handle] = self._copy(self._scratch, _ALL)
        except MemoryError:
            return False
        finally:
            self._clear_scratch()
        return True

    def restore(self, handle: int, slot: int, start: int, end: int) -> bool:
        """Copy cells from position `start` to `end` back into a slot; False without such a copy, or room for it."""
        copy = self._cells.get(handle)
        if copy is None or not self._put(copy, self._scratch, _ALL):
            self._clear_scratch()
            return False
        api.llama_memory_seq_cp(self._memory, self._scratch, slot, start, end)
        self._clear_scratch()
        return int(api.llama_memory_seq_pos_max(self._memory, slot)) == end - 1

    def forget(self, handle: int) -> None:
        """Free a copy of cells, if there is one."""
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

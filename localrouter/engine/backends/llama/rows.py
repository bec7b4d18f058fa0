"""Rows of a step as llama.cpp takes them."""

import ctypes
from typing import Any

import llama_cpp.llama_cpp as api
import numpy as np

from localrouter.engine.scheduling.batch import Batch


class Rows:
    """A `llama_batch` over numpy arrays, so that a step fills it by slices and not row by row."""

    def __init__(self, capacity: int, padding_slot: int = -1) -> None:
        """`capacity` is the most rows of a batch; `padding_slot` is the sequence id of padding rows."""
        self.capacity = capacity
        self._padding_slot = padding_slot
        self._tokens, self._positions, self._slots = (np.zeros(capacity, np.int32) for _ in range(3))
        self._one_each = np.ones(capacity, np.int32)
        self._wanted = np.zeros(capacity, np.int8)
        addresses = self._slots.ctypes.data + self._slots.itemsize * np.arange(capacity, dtype=np.uintp)
        self._slot_pointers = addresses  # llama_batch has a list of sequence ids for each row, here of one id
        self._batch = api.llama_batch()
        for name, values in (
            ("token", self._tokens),
            ("pos", self._positions),
            ("n_seq_id", self._one_each),
            ("seq_id", self._slot_pointers),
            ("logits", self._wanted),
        ):
            kind = {field[0]: field[1] for field in api.llama_batch._fields_}[name]
            setattr(self._batch, name, ctypes.cast(values.ctypes.data, kind))

    def fill(self, batch: Batch, padding: int = 0) -> Any:
        """Return the struct with the rows of `batch` and so many padding rows, valid until the next call."""
        rows, end = len(batch), len(batch) + padding
        self._tokens[:rows] = batch.tokens
        self._positions[:rows] = batch.positions
        self._slots[:rows] = batch.slots
        self._tokens[rows:end] = 0
        self._positions[rows:end] = range(padding)
        self._slots[rows:end] = self._padding_slot
        self._wanted[:end] = 0
        self._wanted[batch.outputs] = 1
        self._batch.n_tokens = end
        return self._batch

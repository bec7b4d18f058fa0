"""View of the logits of a context, in llama.cpp's own memory."""

import ctypes
from typing import Any

import llama_cpp.llama_cpp as api
import numpy as np

from localrouter.engine.backends.base import Logits


class LogitsView:
    """Array over the logits of the last batch; nothing is copied."""

    def __init__(self, context: Any, vocabulary: int) -> None:
        """`vocabulary` is the number of its tokens."""
        self._context = context
        self._vocabulary = vocabulary
        self._where = (0, 0)
        self._view: Logits = np.empty((0, 0), np.float32)

    def rows(self, outputs: int) -> Logits:
        """Return the logits of so many outputs, shape (outputs, vocabulary), valid until the next decode."""
        if outputs == 0:
            return np.empty((0, self._vocabulary), np.float32)
        pointer = api.llama_get_logits(self._context)
        where = (ctypes.addressof(pointer.contents), outputs)
        if self._where != where:  # making the view costs ten times as much as looking it up
            self._where, self._view = where, np.ctypeslib.as_array(pointer, shape=(outputs, self._vocabulary))
        return self._view

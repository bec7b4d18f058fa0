"""Quantization to Q8_0, bit for bit as llama.cpp's `quantize_row_q8_0_ref` (ggml-quants.c)."""

import numpy as np
from numpy.typing import NDArray

_BLOCK = 32
_SCALE = 2
_BLOCKS_AT_ONCE = 4096
"""Blocks per numpy call: enough to amortise the call, few enough to stay in a core's own cache."""


def q8_0(elements: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a tensor as Q8_0 blocks of 34 bytes (blocks, 34): a half-precision scale, then 32 elements of a byte."""
    blocks = elements.reshape(-1, _BLOCK)
    packed = np.empty((len(blocks), _SCALE + _BLOCK), np.uint8)
    for start in range(0, len(blocks), _BLOCKS_AT_ONCE):
        part, out = blocks[start : start + _BLOCKS_AT_ONCE], packed[start : start + _BLOCKS_AT_ONCE]
        scale = np.abs(part).max(axis=1, keepdims=True) / np.float32(127)
        inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale != 0)
        out[:, :_SCALE] = scale.astype(np.float16).view(np.uint8)
        out[:, _SCALE:] = _rounded(part * inverse).astype(np.int8).view(np.uint8)
    return packed


def _rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round to the nearest integer, halves away from zero: C's `roundf`, unlike numpy's rounding to even."""
    size = np.abs(values)
    whole = np.floor(size)
    rounded: NDArray[np.float32] = np.copysign(whole + np.floor(2 * (size - whole)), values)
    return rounded

"""Exponentials by ggml's softmax kernel: numpy takes over twice as long where it has no AVX-512.

The kernel is no part of ggml's public interface, so it is used only where it exists and computes the right values.
"""

import ctypes

import numpy as np
from numpy.typing import NDArray

from localrouter.engine.backends.llama import library
from localrouter.engine.sampling.distribution import Exponential, exponential

KERNEL = "ggml_vec_soft_max_f32"
"""`double ggml_vec_soft_max_f32(int n, float *y, const float *x, float max)` sets y to exp(x - max) and sums it up."""


def fastest_exponential(lib: ctypes.CDLL = library.ggml) -> Exponential:
    """Return ggml's kernel; numpy's function where the library has no such kernel, or its values are wrong."""
    try:
        kernel = lib[KERNEL]  # a new function object, whose types are not shared
    except AttributeError:
        return exponential
    kernel.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_float]
    kernel.restype = ctypes.c_double

    def exp(numbers: NDArray[np.float32], out: NDArray[np.float32]) -> float:
        assert numbers.flags.c_contiguous
        assert out.flags.c_contiguous
        assert len(numbers) == len(out)
        return float(kernel(len(numbers), out.ctypes.data, numbers.ctypes.data, 0.0))

    return exp if is_right(exp) else exponential


def is_right(exp: Exponential) -> bool:
    """Whether a function computes exponentials to float32 precision, down to those that float32 rounds to 0."""
    numbers = np.concatenate([np.linspace(-110, 80, 4001), [-np.inf, 0]]).astype(np.float32)
    out = np.full(len(numbers), np.nan, np.float32)
    total = exp(numbers, out)
    exact = np.exp(numbers.astype(np.float64))
    return bool(np.allclose(out, exact, rtol=2e-6, atol=1e-37) and np.isclose(total, exact.sum(), rtol=2e-6))

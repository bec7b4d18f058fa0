"""Exponentials by llama.cpp's kernel where the build has it and it is right, else by numpy."""

import ctypes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from localrouter.engine.backends.llama import library
from localrouter.engine.backends.llama.exp_kernel import KERNEL, fastest_exponential, is_right
from localrouter.engine.sampling.distribution import Distribution, exponential

EXP = fastest_exponential()
"""What this build computes with: numpy's where it has no kernel, and then the tests hold for that."""


@pytest.mark.skipif(not hasattr(library.ggml, KERNEL), reason=f"this build of llama.cpp does not export {KERNEL}")
def test_the_kernel_is_taken_where_the_build_has_it() -> None:
    assert EXP is not exponential


@given(arrays.arrays(np.float32, st.integers(1, 300), elements=st.floats(-120, 80, width=32)))
def test_it_is_the_exponential_function_for_any_length(numbers: NDArray[np.float32]) -> None:
    out, expected = np.empty_like(numbers), np.exp(numbers.astype(np.float64))
    total = EXP(numbers, out)

    assert np.allclose(out, expected, rtol=2e-6, atol=1e-37)
    assert np.isclose(total, expected.sum(), rtol=2e-6, atol=1e-37)


def test_it_may_write_where_it_reads() -> None:
    numbers = np.linspace(-5, 5, 77, dtype=np.float32)
    expected = np.exp(numbers)
    EXP(numbers, numbers)

    assert np.allclose(numbers, expected, rtol=2e-6)


def test_a_distribution_is_the_same_by_either() -> None:
    row = np.random.default_rng(1).standard_normal(5000, dtype=np.float32) * np.float32(4)
    ours, numpys = Distribution(len(row), EXP), Distribution(len(row))
    for distribution in (ours, numpys):
        assert distribution.fill(row, temperature=1)

    assert np.isclose(ours.log_total(row), numpys.log_total(row), rtol=1e-6)
    assert np.allclose(ours.weights, numpys.weights, rtol=2e-6)


def test_without_the_kernel_numpy_computes() -> None:
    assert fastest_exponential(ctypes.CDLL(None)) is exponential


@pytest.mark.parametrize("function", [np.exp2, np.expm1])
def test_another_function_is_found_out(function: np.ufunc) -> None:
    assert not is_right(lambda numbers, out: float(function(numbers, out).sum()))


def test_another_sum_is_found_out() -> None:
    assert not is_right(lambda numbers, out: 2 * exponential(numbers, out))
    assert is_right(exponential)

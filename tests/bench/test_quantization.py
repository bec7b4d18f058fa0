"""Q8_0 is the same here as in the library of llama.cpp's own project."""

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import quantize

from localrouter.bench.synthetic.quantization import q8_0


@pytest.mark.parametrize("rows", [1, 16, 9000])
def test_blocks_are_those_of_the_library(rows: int) -> None:
    elements = np.random.default_rng(rows).standard_normal((rows, 64), dtype=np.float32)

    expected = quantize(elements, GGMLQuantizationType.Q8_0)
    assert q8_0(elements).tobytes() == expected.tobytes()


def test_halves_go_away_from_zero_and_a_block_of_zeros_stays_one() -> None:
    elements = np.zeros((3, 32), np.float32)
    elements[0, :4] = [127, 0.5, 1.5, 2.5]
    elements[1, :4] = [-127, -0.5, -1.5, -2.5]

    blocks = q8_0(elements).view(np.int8)
    assert blocks[0, 2:6].tolist() == [127, 1, 2, 3]
    assert blocks[1, 2:6].tolist() == [-127, -1, -2, -3]
    assert not blocks[2].any()

"""Tensors of a GGUF file: their types and shapes, their sizes and their offsets."""

import re
from dataclasses import dataclass

_LAYER = re.compile(r"blk\.(\d{1,5})\.")


@dataclass(frozen=True)
class TensorType:
    """Storage format of elements: `block` of them together take `size` bytes."""

    name: str
    block: int
    size: int

    def bytes(self, elements: int) -> int:
        """Return the bytes of so many elements, a multiple of `block`."""
        return elements // self.block * self.size


# enum ggml_type of ggml.h; blocks and their sizes are those of the structs in ggml-common.h. Missing numbers
# were removed from llama.cpp, which refuses files that have them.
TYPES = {
    number: TensorType(name, block, size)
    for number, name, block, size in (
        (0, "F32", 1, 4),
        (1, "F16", 1, 2),
        (2, "Q4_0", 32, 18),
        (3, "Q4_1", 32, 20),
        (6, "Q5_0", 32, 22),
        (7, "Q5_1", 32, 24),
        (8, "Q8_0", 32, 34),
        (9, "Q8_1", 32, 36),
        (10, "Q2_K", 256, 84),
        (11, "Q3_K", 256, 110),
        (12, "Q4_K", 256, 144),
        (13, "Q5_K", 256, 176),
        (14, "Q6_K", 256, 210),
        (15, "Q8_K", 256, 292),
        (16, "IQ2_XXS", 256, 66),
        (17, "IQ2_XS", 256, 74),
        (18, "IQ3_XXS", 256, 98),
        (19, "IQ1_S", 256, 50),
        (20, "IQ4_NL", 32, 18),
        (21, "IQ3_S", 256, 110),
        (22, "IQ2_S", 256, 82),
        (23, "IQ4_XS", 256, 136),
        (24, "I8", 1, 1),
        (25, "I16", 1, 2),
        (26, "I32", 1, 4),
        (27, "I64", 1, 8),
        (28, "F64", 1, 8),
        (29, "IQ1_M", 256, 56),
        (30, "BF16", 1, 2),
        (34, "TQ1_0", 256, 54),
        (35, "TQ2_0", 256, 66),
        (39, "MXFP4", 32, 17),
        (40, "NVFP4", 64, 36),
        (41, "Q1_0", 128, 18),
        (42, "Q2_0", 64, 18),
    )
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor. `shape` counts elements, the fastest changing dimension first; `offset` is from the data's start."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    offset: int

    @property
    def elements(self) -> int:
        """Number of elements."""
        product = 1
        for dimension in self.shape:
            product *= dimension
        return product

    @property
    def size(self) -> int:
        """Bytes of the tensor's data, without the padding after it."""
        return self.type.bytes(self.elements)

    @property
    def end(self) -> int:
        """Offset after the tensor's data, from the start of the data."""
        return self.offset + self.size

    @property
    def layer(self) -> int | None:
        """Number of the tensor's layer; None for the embedding, the output and others outside of layers."""
        found = _LAYER.match(self.name)
        return int(found[1]) if found else None

"""Header of a GGUF file: its version, its metadata, and its tensors with their offsets in the file.

The reader is for untrusted files: every count and length is checked against the size of the file, so a damaged or
hostile one ends in GgufError and not in a crash or a large allocation. The format is described in
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from localrouter.errors import OperatorError
from localrouter.gguf.header_bytes import MAX_HEADER, MAX_KEPT, U32, U64, Ended, HeaderBytes, Malformed
from localrouter.gguf.parts import parts
from localrouter.gguf.tensors import TYPES, Tensor

Number: TypeAlias = int | float | bool
Scalar: TypeAlias = Number | str

CHAT_TEMPLATE = "tokenizer.chat_template"
"""Metadata key of the chat template."""
MAX_METADATA = 65_536
"""Most key-value pairs; real files have some dozens."""
MAX_TENSORS = 65_536
"""Most tensors; real files have some hundreds."""
MAX_KEY = 65_535
"""Most bytes of a key, by the format."""
MAX_LIST = 1024
"""Most elements of an array whose values are kept: per-layer arrays are shorter, vocabularies longer."""

_STRING, _ARRAY = 8, 9
_LETTERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_NUMBERS = {code: struct.Struct("<" + letter) for code, letter in _LETTERS.items()}
_LEAST_PAIR = 8 + 4 + 1
_LEAST_TENSOR = 8 + 4 + 4 + 8
_MAX_TENSOR_NAME = 63  # GGML_MAX_NAME and GGML_MAX_DIMS of ggml.h; llama.cpp refuses what is over
_MAX_DIMENSIONS = 4
_MAX_BYTES = 2**63
_ALIGNMENT = 32
_KEPT_NUMBER = 32  # bytes that a number in a list takes, roughly

# LLAMA_FTYPE of llama.h. Missing numbers were removed from llama.cpp.
_FILE_TYPES = {
    **dict(enumerate(("F32", "F16", "Q4_0", "Q4_1"))),
    **dict(enumerate(("Q8_0", "Q5_0", "Q5_1", "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M"), 7)),
    **dict(enumerate(("Q5_K_S", "Q5_K_M", "Q6_K", "IQ2_XXS", "IQ2_XS", "Q2_K_S", "IQ3_XS", "IQ3_XXS"), 16)),
    **dict(enumerate(("IQ1_S", "IQ4_NL", "IQ3_S", "IQ3_M", "IQ2_S", "IQ2_M", "IQ4_XS", "IQ1_M", "BF16"), 24)),
    **dict(enumerate(("TQ1_0", "TQ2_0", "MXFP4_MOE", "NVFP4", "Q1_0", "Q2_0"), 36)),
}


class GgufError(OperatorError):
    """A file that is no GGUF, or one that llama.cpp cannot load; the message names the file and the fault."""


@dataclass(frozen=True)
class GgufHeader:
    """Header of a GGUF file. Offsets are bytes from the start of the file unless noted."""

    version: int
    metadata: Mapping[str, Scalar]
    arrays: Mapping[str, int]
    """Number of elements of each array, by its key."""
    lists: Mapping[str, tuple[Number, ...]]
    """Elements of arrays of at most `MAX_LIST` numbers, by key."""
    tensors: tuple[Tensor, ...]
    """Tensors in the order of their data."""
    data_offset: int
    """Offset of the tensors' data."""
    array_offsets: Mapping[str, int] = field(default_factory=dict)
    """Offset of each array by its key: the type of its elements, their count, then the elements."""

    @property
    def tensor_count(self) -> int:
        """Number of tensors in this file."""
        return len(self.tensors)

    @property
    def data_end(self) -> int:
        """Offset after the last tensor; a shorter file is truncated."""
        return self.data_offset + (self.tensors[-1].end if self.tensors else 0)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.size for tensor in self.tensors)

    @cached_property
    def layer_bytes(self) -> Mapping[int, int]:
        """Bytes of the tensors `blk.N.` by layer N; the embedding and the output belong to none."""
        layers: Counter[int] = Counter()
        for tensor in self.tensors:
            if tensor.layer is not None:
                layers[tensor.layer] += tensor.size
        return layers

    def tensor_bytes(self, name: str) -> int:
        """Return the bytes of the tensors of this name, such as `token_embd` or `output`; 0 without one."""
        return sum(tensor.size for tensor in self.tensors if tensor.name.rpartition(".")[0] == name)

    @property
    def parts(self) -> int:
        """Number of files that this model is split into; 1 when it is not split."""
        return max(1, self._number("split.count") or 1)

    @property
    def architecture(self) -> str | None:
        """Name of the architecture in llama.cpp, such as qwen35moe."""
        return self._text("general.architecture")

    @property
    def name(self) -> str | None:
        """Name of the model by the author of the file."""
        return self._text("general.name")

    @property
    def license(self) -> str | None:
        """Licence in the words of the author of the file."""
        return self._text("general.license")

    @property
    def chat_template(self) -> str | None:
        """Chat template; None without one, or for an empty one."""
        return self._text(CHAT_TEMPLATE) or None

    @property
    def context_length(self) -> int | None:
        """Tokens of context that the model was trained for."""
        return self._number(f"{self.architecture}.context_length")

    @property
    def parameters(self) -> int | None:
        """Number of weights of the model, where the file has it."""
        return self._number("general.parameter_count")

    @property
    def file_type(self) -> str | None:
        """Quantization of most weights, such as Q4_K_M."""
        number = self._number("general.file_type")
        return None if number is None else _FILE_TYPES.get(number, f"type {number}")

    def _text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def _number(self, key: str) -> int | None:
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


@dataclass(frozen=True)
class NeedMore:
    """The header is longer than the bytes passed: pass the first `bytes` of the file, or more."""

    bytes: int


def read_header(path: Path) -> GgufHeader:
    """Return the header of a GGUF file of version 2 or 3. Raises GgufError."""
    try:
        with path.open("rb", buffering=0) as file:
            return _header(HeaderBytes.of_file(file))
    except Malformed as error:
        raise _refusal(str(path), error) from None
    except OSError as error:
        raise GgufError(f"{path} cannot be read: {error.strerror}") from None


def read_headers(path: Path) -> list[GgufHeader]:
    """Return the headers of all parts of a model, in order; most models are one file. Raises GgufError."""
    return [read_header(path.with_name(part)) for part in parts(path.name)]


def parse_header(data: bytes, *, name: str, size: int | None = None) -> GgufHeader | NeedMore:
    """Return the header from the first bytes of a file of `size` bytes (None: unknown). Raises GgufError.

    `name` is the file's name in errors. NeedMore asks for at least twice the bytes passed, so that a loop of fetching
    and parsing is short; it never asks for more than the file has, nor for more than 256 MiB.
    """
    try:
        return _header(HeaderBytes.of_memory(data, size))
    except Ended as ended:
        most = max(ended.needed, MAX_HEADER if size is None else min(size, MAX_HEADER))
        return NeedMore(min(max(ended.needed, 2 * len(data)), most))
    except Malformed as error:
        raise _refusal(name, error) from None


def _refusal(name: str, error: Malformed) -> GgufError:
    return GgufError(f"{name} is not a usable GGUF file: {error}", hint=error.hint)


def _header(source: HeaderBytes) -> GgufHeader:
    version = _version(source)
    tensors = source.count("tensors", least=_LEAST_TENSOR, limit=MAX_TENSORS)
    pairs = source.count("metadata entries", least=_LEAST_PAIR, limit=MAX_METADATA)
    metadata: dict[str, Scalar] = {}
    arrays: dict[str, int] = {}
    lists: dict[str, tuple[Number, ...]] = {}
    array_offsets: dict[str, int] = {}
    for _ in range(pairs):
        key = source.text(limit=MAX_KEY)
        if key in metadata or key in arrays:
            raise Malformed(f"the metadata key {key[:80]!r} stands there twice")
        kind = source.integer(U32)
        if kind == _ARRAY:
            array_offsets[key] = source.position
            arrays[key], numbers = _array(source)
            if numbers is not None:
                lists[key] = numbers
        else:
            metadata[key] = _scalar(source, kind)
    alignment = _alignment(metadata.get("general.alignment", _ALIGNMENT))
    infos = tuple(_tensors(source, tensors, alignment))
    source.check_end()
    data = _padded(source.position, alignment) if infos else source.position
    return GgufHeader(version, metadata, arrays, lists, infos, data, array_offsets)


def _version(source: HeaderBytes) -> int:
    if source.take(4) != b"GGUF":
        raise Malformed("it does not start with the bytes GGUF", "is it a pointer of git-lfs, or another format?")
    version = source.integer(U32)
    if version & 0xFFFF == 0 and version:
        raise Malformed("it is big-endian", "gguf-convert-endian of the gguf package turns it around")
    if version not in {2, 3}:
        raise Malformed(f"its version is {version}, and 2 and 3 are known")
    return version


def _scalar(source: HeaderBytes, kind: int) -> Scalar:
    if kind == _STRING:
        return source.text(limit=MAX_KEPT)
    if kind not in _NUMBERS:
        raise Malformed(f"it has a value of the unknown type {kind}")
    number = _NUMBERS[kind]
    value: Number = number.unpack(source.take(number.size))[0]
    return value


def _array(source: HeaderBytes) -> tuple[int, tuple[Number, ...] | None]:
    """Return the number of elements of an array, and its elements if they are few numbers."""
    kind = source.integer(U32)
    if kind == _STRING:
        count = source.count("texts in an array", least=U64.size)
        source.skip_texts(count)
        return count, None
    if kind not in _NUMBERS:
        raise Malformed(f"it has an array of the type {kind}, which llama.cpp does not read")
    width = _NUMBERS[kind].size
    count = source.count("numbers in an array", least=width)
    if count > MAX_LIST or not source.may_keep(count * _KEPT_NUMBER):
        source.position += count * width
        return count, None
    return count, struct.unpack(f"<{count}{_LETTERS[kind]}", source.take(count * width))


def _alignment(value: Scalar) -> int:
    """Return the multiple at which tensors begin, of which the metadata has this value; at most 2^24."""
    if isinstance(value, bool) or not isinstance(value, int) or value not in {1 << power for power in range(25)}:
        raise Malformed(f"its alignment is {value!r}, and a power of two is needed")
    return value


def _tensors(source: HeaderBytes, count: int, alignment: int) -> Iterator[Tensor]:
    """Yield the tensors. Each begins at the padded end of the one before it, as llama.cpp requires."""
    names: set[str] = set()
    position = 0
    for _ in range(count):
        tensor = _tensor(source)
        if tensor.name in names:
            raise Malformed(f"it has two tensors of the name {tensor.name!r}")
        if tensor.offset != position:
            raise Malformed(f"the data of its tensor {tensor.name!r} is said to be at {tensor.offset}, not {position}")
        names.add(tensor.name)
        position = _padded(tensor.end, alignment)
        yield tensor


def _tensor(source: HeaderBytes) -> Tensor:
    name = source.text(limit=_MAX_TENSOR_NAME)
    dimensions = source.integer(U32)
    if dimensions > _MAX_DIMENSIONS:
        raise Malformed(f"its tensor {name!r} has {dimensions} dimensions")
    shape = struct.unpack(f"<{dimensions}Q", source.take(8 * dimensions)) or (1,)
    kind = source.integer(U32)
    if kind not in TYPES:
        raise Malformed(f"its tensor {name!r} is of the type {kind}, which llama.cpp does not know")
    tensor = Tensor(name, shape, TYPES[kind], source.integer(U64))
    if shape[0] % tensor.type.block or max(shape) >= _MAX_BYTES or max(tensor.elements, tensor.size) >= _MAX_BYTES:
        raise Malformed(f"its tensor {name!r} of {tensor.type.name} cannot have the shape {shape}")
    return tensor


def _padded(position: int, alignment: int) -> int:
    return -(-position // alignment) * alignment

"""What a GGUF file says of itself: its version, how many tensors it has, and its metadata.

A reader for files that nobody has checked yet: every count and length is held against the size of the file, so a
damaged or hostile one ends in GgufError and not in a crash or a large allocation. The format is described in
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from localrouter.errors import OperatorError

Scalar: TypeAlias = int | float | bool | str

MAX_METADATA = 65_536
"""Key-value pairs; real files have some dozens."""
MAX_KEY = 65_535
"""Bytes of a key; the format's own limit."""
MAX_KEPT = 32 * 1024 * 1024
"""Bytes of all texts together that are kept; a chat template is some 20 kB."""

_WINDOW = 256 * 1024
_STRING, _ARRAY = 8, 9
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_LETTERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_NUMBERS = {code: struct.Struct("<" + letter) for code, letter in _LETTERS.items()}
_CUT = ("it ends in the middle of its header", "fetch it again: an unfinished download looks like this")
_LEAST_PAIR = 8 + 4 + 1
_LEAST_TENSOR = 8 + 4 + 4 + 8

# LLAMA_FTYPE of llama.h. Numbers that are missing were taken back by llama.cpp.
_FILE_TYPES = {
    **dict(enumerate(("F32", "F16", "Q4_0", "Q4_1"))),
    **dict(enumerate(("Q8_0", "Q5_0", "Q5_1", "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M"), 7)),
    **dict(enumerate(("Q5_K_S", "Q5_K_M", "Q6_K", "IQ2_XXS", "IQ2_XS", "Q2_K_S", "IQ3_XS", "IQ3_XXS"), 16)),
    **dict(enumerate(("IQ1_S", "IQ4_NL", "IQ3_S", "IQ3_M", "IQ2_S", "IQ2_M", "IQ4_XS", "IQ1_M", "BF16"), 24)),
    **dict(enumerate(("TQ1_0", "TQ2_0", "MXFP4_MOE", "NVFP4", "Q1_0", "Q2_0"), 36)),
}


class GgufError(OperatorError):
    """A file that is no GGUF which llama.cpp could load; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class GgufHeader:
    """The header of a GGUF file. Of arrays only the number of elements is known."""

    version: int
    tensor_count: int
    metadata: Mapping[str, Scalar]
    arrays: Mapping[str, int]

    @property
    def architecture(self) -> str | None:
        """llama.cpp's name of the architecture, such as qwen35moe."""
        return self._text("general.architecture")

    @property
    def name(self) -> str | None:
        """The name that the maker of the file gave the model."""
        return self._text("general.name")

    @property
    def license(self) -> str | None:
        """The licence as the maker of the file wrote it."""
        return self._text("general.license")

    @property
    def context_length(self) -> int | None:
        """Tokens of context that the model was trained for."""
        return self._number(f"{self.architecture}.context_length")

    @property
    def parameters(self) -> int | None:
        """How many weights the model has, where the file says so."""
        return self._number("general.parameter_count")

    @property
    def file_type(self) -> str | None:
        """How most weights are quantized, such as Q4_K_M."""
        number = self._number("general.file_type")
        return None if number is None else _FILE_TYPES.get(number, f"type {number}")

    def _text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def _number(self, key: str) -> int | None:
        value = self.metadata.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


def read_header(path: Path) -> GgufHeader:
    """Read the header of a GGUF file of version 2 or 3. Raises GgufError."""
    try:
        with path.open("rb", buffering=0) as file:
            return _Reader(file, os.fstat(file.fileno()).st_size).header()
    except _Malformed as error:
        raise GgufError(f"{path} is not a usable GGUF file: {error}", hint=error.hint) from None
    except OSError as error:
        raise GgufError(f"{path} cannot be read: {error.strerror}") from None


class _Malformed(Exception):
    def __init__(self, message: str, hint: str = "fetch or convert the file again") -> None:
        super().__init__(message)
        self.hint = hint


class _Reader:
    """Walks through a header with a window of bytes: skipping a large vocabulary costs neither memory nor calls."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._window = b""
        self._start = 0
        self._position = 0
        self._kept = 0

    def header(self) -> GgufHeader:
        version = self._version()
        tensor_count = self._count("tensors", least=_LEAST_TENSOR)
        pairs = self._count("metadata entries", least=_LEAST_PAIR, limit=MAX_METADATA)
        metadata: dict[str, Scalar] = {}
        arrays: dict[str, int] = {}
        for _ in range(pairs):
            key = self._text(limit=MAX_KEY)
            if key in metadata or key in arrays:
                raise _Malformed(f"the metadata key {key[:80]!r} stands there twice")
            kind = self._integer(_U32)
            if kind == _ARRAY:
                arrays[key] = self._skip_array()
            else:
                metadata[key] = self._scalar(kind)
        if self._position > self._size:
            raise _Malformed(*_CUT)
        return GgufHeader(version, tensor_count, metadata, arrays)

    def _version(self) -> int:
        if self._take(4) != b"GGUF":
            raise _Malformed("it does not start with the bytes GGUF", "is it a pointer of git-lfs, or another format?")
        version = self._integer(_U32)
        if version & 0xFFFF == 0 and version:
            raise _Malformed("it is big-endian", "gguf-convert-endian of the gguf package turns it around")
        if version not in {2, 3}:
            raise _Malformed(f"its version is {version}, and 2 and 3 are known")
        return version

    def _count(self, what: str, *, least: int, limit: int = 2**64) -> int:
        """A count of things of at least `least` bytes each; more than the rest of the file can hold is absurd."""
        count = self._integer(_U64)
        if count > limit or count * least > self._size - self._position:
            raise _Malformed(f"it claims to have {count} {what}, more than there can be")
        return count

    def _scalar(self, kind: int) -> Scalar:
        if kind == _STRING:
            return self._text(limit=MAX_KEPT)
        if kind not in _NUMBERS:
            raise _Malformed(f"it has a value of the unknown type {kind}")
        number = _NUMBERS[kind]
        value: int | float | bool = number.unpack(self._take(number.size))[0]
        return value

    def _text(self, *, limit: int) -> str:
        length = self._integer(_U64)
        self._kept += length
        if length > limit or self._kept > MAX_KEPT:
            raise _Malformed(f"it has a text of {length} bytes where that makes no sense")
        return self._take(length).decode("utf-8", "replace")

    def _skip_array(self) -> int:
        kind = self._integer(_U32)
        if kind == _STRING:
            count = self._count("texts in an array", least=_U64.size)
            self._skip_texts(count)
        elif kind in _NUMBERS:
            width = _NUMBERS[kind].size
            count = self._count("numbers in an array", least=width)
            self._position += count * width
        else:
            raise _Malformed(f"it has an array of the type {kind}, which llama.cpp does not read")
        return count

    def _skip_texts(self, count: int) -> None:
        """The one hot loop: a vocabulary has hundreds of thousands of texts."""
        for _ in range(count):
            offset = self._position - self._start
            if offset + 8 > len(self._window):
                self._fill(8)
                offset = 0
            self._position += 8 + int(_U64.unpack_from(self._window, offset)[0])

    def _integer(self, kind: struct.Struct) -> int:
        return int(kind.unpack(self._take(kind.size))[0])

    def _take(self, length: int) -> bytes:
        offset = self._position - self._start
        if offset + length > len(self._window):
            self._fill(length)
            offset = 0
        self._position += length
        return self._window[offset : offset + length]

    def _fill(self, length: int) -> None:
        """Move the window to the position; it then holds at least `length` bytes."""
        if self._position + length > self._size:
            raise _Malformed(*_CUT)
        self._file.seek(self._position)
        self._start = self._position
        self._window = b""
        while len(self._window) < length:
            chunk = self._file.read(max(_WINDOW, length - len(self._window)))
            if not chunk:
                raise _Malformed("it became shorter while it was read")
            self._window += chunk

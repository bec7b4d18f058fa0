"""Writes a GGUF file: metadata, the table of tensors, then their data, with one tensor at a time in memory.

The format is that of `header.py`, version 3. A value is stored by its Python type: str, bool, int (32 bits, signed in
an array or where it is negative), float (32 bits), or a list of one of these.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

from localrouter.gguf.tensors import TYPES

Scalar: TypeAlias = str | bool | int | float
Value: TypeAlias = Scalar | list[str] | list[bool] | list[int] | list[float]

F32, Q8_0, I8 = 0, 8, 24
"""Numbers of tensor types in TYPES."""
_VERSION = 3
_ALIGNMENT = 32
_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9  # enum gguf_type of gguf.h
_LAYOUTS = {_UINT32: "<I", _INT32: "<i", _FLOAT32: "<f", _BOOL: "<?"}


@dataclass(frozen=True)
class MetadataEntry:
    """One tensor of the table: its dimensions in numpy's order, and the number of its type in TYPES."""

    name: str
    dimensions: tuple[int, ...]
    type: int

    @property
    def size(self) -> int:
        """Bytes of the tensor's data, without the padding after it."""
        elements = 1
        for dimension in self.dimensions:
            elements *= dimension
        return TYPES[self.type].bytes(elements)


def write_gguf(
    file: BinaryIO, metadata: Mapping[str, Value], table: Sequence[MetadataEntry], data: Iterable[bytes | memoryview]
) -> None:
    """Write a whole file; `data` yields the data of each tensor, in the order of the table."""
    file.write(header_of(metadata, table))
    for entry, content in zip(table, data, strict=True):
        assert len(content) == entry.size, entry.name
        file.write(content)
        file.write(bytes(-entry.size % _ALIGNMENT))


def header_of(metadata: Mapping[str, Value], table: Sequence[MetadataEntry]) -> bytes:
    """Return the bytes of the file before the tensors' data."""
    header = bytearray(b"GGUF" + struct.pack("<IQQ", _VERSION, len(table), len(metadata)))
    for key, value in metadata.items():
        header += _text(key) + _typed(value)
    offset = 0
    for entry in table:
        header += _text(entry.name) + struct.pack("<I", len(entry.dimensions))
        header += struct.pack(f"<{len(entry.dimensions)}Q", *reversed(entry.dimensions))
        header += struct.pack("<IQ", entry.type, offset)
        offset += padded(entry.size)
    return bytes(header) + bytes(-len(header) % _ALIGNMENT)


def padded(size: int) -> int:
    """Return a size in bytes with the padding that follows in the file."""
    return size + -size % _ALIGNMENT


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _typed(value: Value) -> bytes:
    if not isinstance(value, list):
        kind = _kind(value)
        return struct.pack("<I", kind) + _packed(kind, value)
    kind = _kind(value[0])
    kind = _INT32 if kind == _UINT32 else kind
    return struct.pack("<IIQ", _ARRAY, kind, len(value)) + b"".join(_packed(kind, item) for item in value)


def _kind(value: Scalar) -> int:
    match value:
        case str():
            return _STRING
        case bool():
            return _BOOL
        case int():
            return _UINT32 if value >= 0 else _INT32
    return _FLOAT32


def _packed(kind: int, value: Scalar) -> bytes:
    return _text(value) if isinstance(value, str) else struct.pack(_LAYOUTS[kind], value)

"""Bytes of a GGUF header, read from front to back.

The bytes are untrusted, so every length is checked before anything is read or kept. They come from a file, or from its
first megabytes in memory.
"""

import os
import struct
from collections.abc import Callable, Collection
from typing import BinaryIO

MAX_HEADER = 256 * 1024 * 1024
"""Most bytes of a header; the largest vocabularies take some 20 MB."""
MAX_KEPT = 32 * 1024 * 1024
"""Most bytes of all kept texts together; a chat template has some 20 kB."""

U32, U64 = struct.Struct("<I"), struct.Struct("<Q")

_WINDOW = 256 * 1024


class Malformed(Exception):
    """The bytes are no header that llama.cpp can load; the message says why."""

    def __init__(self, message: str, hint: str = "fetch or convert the file again") -> None:
        super().__init__(message)
        self.hint = hint


class Ended(Exception):
    """The bytes in memory end before the header does; at least the first `needed` bytes of the file are needed."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


class HeaderBytes:
    """A position in a header, and a window of bytes: skipping a large vocabulary costs neither memory nor calls.

    `read(position, least)` returns at least `least` bytes from `position` on; `size` is that of the whole file.
    """

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        self._size = size
        self._window = b""
        self._start = 0
        self._kept = 0
        self.position = 0

    @classmethod
    def of_file(cls, file: BinaryIO) -> "HeaderBytes":
        """Return the bytes of an open, unbuffered file."""

        def read(position: int, least: int) -> bytes:
            file.seek(position)
            data = b""
            while len(data) < least:
                chunk = file.read(max(_WINDOW, least - len(data)))
                if not chunk:
                    raise Malformed("it became shorter while it was read")
                data += chunk
            return data

        return cls(read, os.fstat(file.fileno()).st_size)

    @classmethod
    def of_memory(cls, data: bytes, size: int | None) -> "HeaderBytes":
        """Return the first bytes of a file of `size` bytes (None: unknown). Reading beyond them raises Ended."""

        def read(position: int, least: int) -> bytes:
            if position + least > len(data):
                raise Ended(position + least)
            return data[position : position + max(_WINDOW, least)]

        return cls(read, 2**63 if size is None else size)

    def integer(self, kind: struct.Struct) -> int:
        """Return the next number of this kind."""
        return int(kind.unpack(self.take(kind.size))[0])

    def count(self, what: str, *, least: int, limit: int = 2**64) -> int:
        """Return the next number, a count of things of at least `least` bytes; raises Malformed for too large a one."""
        count = self.integer(U64)
        if count > limit or count * least > min(self._size, MAX_HEADER) - self.position:
            raise Malformed(f"it claims to have {count} {what}, more than there can be")
        return count

    def text(self, *, limit: int) -> str:
        """Return the next text; raises Malformed for one of more than `limit` bytes."""
        length = self.integer(U64)
        if length > limit or not self.may_keep(length):
            raise Malformed(f"it has a text of {length} bytes where that makes no sense")
        return self.take(length).decode("utf-8", "replace")

    def may_keep(self, size: int) -> bool:
        """Return whether `size` more bytes may be kept in memory; if so they are counted."""
        if self._kept + size > MAX_KEPT:
            return False
        self._kept += size
        return True

    def skip_texts(self, count: int) -> None:
        """Skip `count` texts. A hot loop: a vocabulary has hundreds of thousands of texts."""
        position, start, window = self.position, self._start, self._window
        for _ in range(count):
            offset = position - start
            if offset + 8 > len(window):
                self.position = position
                self._fill(8)
                offset, start, window = 0, self._start, self._window
            position += 8 + int(U64.unpack_from(window, offset)[0])
        self.position = position

    def find_texts(self, count: int, wanted: Collection[bytes]) -> dict[bytes, int]:
        """Skip `count` texts; return the index of each wanted text, the first one where it occurs twice."""
        longest, lengths = max(map(len, wanted), default=0), {len(text) for text in wanted}
        found: dict[bytes, int] = {}
        position, start, window = self.position, self._start, self._window
        for number in range(count):
            offset = position - start + 8
            if not 8 <= offset <= len(window) - longest:
                self.position = position
                self._fill(8)
                offset, start, window = 8, self._start, self._window
            length = int(U64.unpack_from(window, offset - 8)[0])
            if length in lengths and (text := window[offset : offset + length]) in wanted:
                found.setdefault(text, number)
            position += 8 + length
        self.position = position
        return found

    def take(self, length: int) -> bytes:
        """Return the next `length` bytes."""
        offset = self.position - self._start
        if offset < 0 or offset + length > len(self._window):
            self._fill(length)
            offset = 0
        self.position += length
        return self._window[offset : offset + length]

    def check_end(self) -> None:
        """Raise Malformed when the position is beyond the end of the file."""
        if self.position > self._size:
            raise Malformed(
                "it ends in the middle of its header", "fetch it again: an unfinished download looks like this"
            )
        if self.position > MAX_HEADER:
            raise Malformed(f"its header is longer than {MAX_HEADER >> 20} MiB")

    def _fill(self, length: int) -> None:
        """Move the window to the position, with at least `length` bytes in it."""
        self.position += length
        self.check_end()
        self.position -= length
        self._window = self._read(self.position, length)
        self._start = self.position

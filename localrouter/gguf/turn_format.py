"""Turn format of a model without a chat template, by the turn delimiters among its special tokens.

The worker finds it in the loaded vocabulary, `localrouter list` and `show` find it in a file, without llama.cpp.
"""

import struct
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, TypeAlias

from localrouter.gguf.header import CHAT_TEMPLATE, GgufError, GgufHeader, read_header
from localrouter.gguf.header_bytes import U32, HeaderBytes, Malformed

TurnFormat: TypeAlias = Literal["chatml", "gemma4", "gemma", "plain"]


class TurnDelimiters(NamedTuple):
    """Special tokens around a turn."""

    begin: str
    end: str


DELIMITERS: Mapping[TurnFormat, TurnDelimiters] = {
    "chatml": TurnDelimiters("<|im_start|>", "<|im_end|>"),
    "gemma4": TurnDelimiters("<|turn>", "<turn|>"),
    "gemma": TurnDelimiters("<start_of_turn>", "<end_of_turn>"),
}
"""Delimiters of each format, in order of preference; the format `plain` has none.

ChatML comes first: fine-tuned models of other families have its delimiters added to their vocabulary."""

FALLBACK_ADVICE = "use an instruction-tuned file, or name a template as chat_template of its build in the manifest"
"""Advice on a model without a chat template."""

TOKENS, _TYPES = "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"
_CONTROL, _USER_DEFINED = 3, 4  # llama_token_type of llama.h; llama.cpp finds only these by their spelling
ARRAY_HEAD = 4 + 8
"""Bytes before the elements of an array: their type and count."""
_TYPE_WIDTH = 4
_INTEGERS = (4, 5)
"""GGUF types of stored token types: 32 bits, unsigned and signed."""
_SEARCHED = 32 << 20
"""Bytes at the start of a file that are searched for a chat template; the largest vocabularies take some 20 MB."""
_CHUNK = 1 << 20


def turn_format(special_tokens: Collection[str]) -> TurnFormat:
    """Return the turn format of a model with these special tokens and without a chat template."""
    fits = (name for name, delimiters in DELIMITERS.items() if all(each in special_tokens for each in delimiters))
    return next(fits, "plain")


def fallback_of_file(path: Path, *, searched: int = _SEARCHED, chunk: int = _CHUNK) -> TurnFormat | None:
    """Return the turn format of a GGUF file without a chat template; None: the file has a template.

    The first `searched` bytes are searched for a template in pieces of `chunk` bytes, which takes milliseconds; where
    none is found the header is parsed, which takes a fifth of a second for a large one. Raises GgufError.
    """
    try:
        with path.open("rb", buffering=0) as file:
            if _names_template(file, searched, chunk):
                return None
    except OSError as error:
        raise GgufError(f"{path} cannot be read: {error.strerror}") from None
    return fallback_of_header(path, read_header(path))


def fallback_of_header(path: Path, header: GgufHeader) -> TurnFormat | None:
    """Return the turn format of a GGUF file with this header; None: it has a chat template. Raises GgufError."""
    if header.chat_template:
        return None
    wanted = {text.encode(): text for delimiters in DELIMITERS.values() for text in delimiters}
    try:
        with path.open("rb", buffering=0) as file:
            return turn_format([wanted[text] for text in _special(HeaderBytes.of_file(file), header, wanted)])
    except (OSError, Malformed) as error:
        raise GgufError(f"{path} changed while it was read: {error}") from None


def _names_template(file: BinaryIO, searched: int, size: int) -> bool:
    """Whether the start of the file has the key of the chat template with a text that is not empty."""
    text, key = 8, CHAT_TEMPLATE.encode()
    pair = struct.pack("<Q", len(key)) + key + struct.pack("<I", text)
    rest, position = b"", 0
    while position < searched and (chunk := file.read(size)):
        data = rest + chunk
        found = data.find(pair)
        length = data[found + len(pair) :][:8] if found >= 0 else b""
        if len(length) == 8:
            return length != bytes(8)
        position += len(chunk)
        rest = data[-len(pair) - 8 :]
    return False


def _special(source: HeaderBytes, header: GgufHeader, wanted: Collection[bytes]) -> list[bytes]:
    """Return those of the `wanted` texts that are control or user-defined tokens of the vocabulary."""
    if TOKENS not in header.array_offsets or _TYPES not in header.array_offsets:
        return []
    source.position = header.array_offsets[TOKENS] + ARRAY_HEAD
    numbers = source.find_texts(header.arrays[TOKENS], wanted)
    types, count = header.array_offsets[_TYPES], header.arrays[_TYPES]
    source.position = types
    if source.integer(U32) not in _INTEGERS:
        return []
    special = []
    for text, number in numbers.items():
        source.position = types + ARRAY_HEAD + number * _TYPE_WIDTH
        if number < count and source.integer(U32) in (_CONTROL, _USER_DEFINED):
            special.append(text)
    return special
